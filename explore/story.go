//go:build explore

package explore

import (
	"fmt"
	"strings"
)

// trace keeps who did what.
type trace struct{ events []event }

type event struct {
	who  int
	text string
	// times is how often the task did it in a row.
	times int
}

// phrases say what a step means to a reader of the story; a step that is not here
// is not worth a line. %d is the page, offset or number that it concerns.
var phrases = map[string]string{
	"cache.claim":      "claims page %d: its dirty bits are gone",
	"cache.write":      "writes out from page %d on",
	"cache.fill":       "reads page %d in",
	"cache.flush":      "flushes what is below",
	"cache.writefault": "marks page %d dirty and mapped",
	"cache.takeaway":   "takes pages away from %d on",
	"cache.withdraw":   "withdraws page %d",
	"cache.settle":     "finds page %d stored to",
	"cache.takeout":    "takes page %d out of memory",
	"mirror.region":    "changes the state of region %d",
	"mirror.log":       "writes the region log at %d",
	"mirror.leg":       "writes a leg at %d",
	"mirror.ring":      "writes a leg's journal at %d",
	"mirror.guards":    "writes guards",
	"mirror.read":      "reads at %d",
	"mirror.heal":      "heals at %d",
	"journal.wrote":    "has transaction %d in the journal",
	"journal.landed":   "has the journal's header %d durable",
	"powercut.flush":   "flushes a disk",
	"volume.store":     "writes slot %d of the table",
	"volume.flush":     "flushes the table",
}

func (t *trace) step(who *task, where string, arg uint64) {
	if p, ok := phrases[where]; ok {
		if strings.Contains(p, "%d") {
			p = fmt.Sprintf(p, arg)
		}
		t.tell(who, p)
	}
}

// tell adds what a task does; what it does again and again is told once.
func (t *trace) tell(who *task, text string) {
	if n := len(t.events); n > 0 && t.events[n-1].who == who.id && t.events[n-1].text == text {
		t.events[n-1].times++
		return
	}
	t.events = append(t.events, event{who.id, text, 1})
}

// Note tells in the story what the task does.
func (x *Execution) Note(format string, args ...any) {
	if x.trace != nil {
		x.trace.tell(x.running, fmt.Sprintf(format, args...))
	}
}

// Story is what happened in an execution, in order, a column for each task.
type Story struct {
	Title  string
	Tasks  []string
	events []event
	End    string
}

func (t *trace) story(sc *Scenario, x *Execution) *Story {
	s := &Story{Title: sc.Name + ": " + sc.Story, events: t.events, End: "Nothing is wrong."}
	for _, t := range x.tasks {
		s.Tasks = append(s.Tasks, t.name)
	}
	if x.found != nil {
		s.End = x.found.What
	}
	return s
}

// columnWidth lets three columns and a margin stand in a hundred characters.
const columnWidth = 32

// String is the story as a table of text. Tasks that do nothing worth telling have no
// column.
func (s *Story) String() string {
	column, names := map[int]int{}, []string{}
	for _, e := range s.events {
		if _, ok := column[e.who]; !ok {
			column[e.who] = len(names)
			names = append(names, s.Tasks[e.who])
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", s.Title)
	row(&b, len(names), func(c int) string { return names[c] })
	row(&b, len(names), func(c int) string { return strings.Repeat("-", len(names[c])) })
	for _, e := range s.events {
		text := e.text
		if e.times > 1 {
			text += fmt.Sprintf(", %d times", e.times)
		}
		for _, line := range wrap(text, columnWidth-2) {
			row(&b, len(names), func(c int) string {
				if c == column[e.who] {
					return line
				}
				return ""
			})
		}
	}
	fmt.Fprintf(&b, "\n=> %s\n", s.End)
	return b.String()
}

func row(b *strings.Builder, columns int, text func(c int) string) {
	var line strings.Builder
	for c := range columns {
		fmt.Fprintf(&line, "%-*s", columnWidth, text(c))
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// wrap breaks text into lines of at most width characters, but never a word.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines, line = append(lines, line), "  "+w
			continue
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
