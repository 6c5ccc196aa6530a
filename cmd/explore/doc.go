// Command explore runs Holdfast's own code in every order that is worth trying, and
// shows that it would find the mistakes that others have made.
//
//	go run -tags explore ./cmd/explore
//
// searches every scenario with the code as it is, and then looks for each mutant: a
// switch, in builds with the tag explore only, that puts one old mistake back. It
// prints a table, and exits with 0 if every mutant was found and nothing else, 1
// otherwise, and 2 if it was asked in a way that it does not understand.
//
// Each search is a process of its own, for a scheduler stands under a whole process.
package main
