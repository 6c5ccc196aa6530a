//go:build !explore

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "explore: this build has no scheduler in it; use: go run -tags explore ./cmd/explore")
	os.Exit(2)
}
