package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// valueMost in bytes is longer than any error that is of use to a person.
	valueMost = 1 << 10
	// detailsMost is far more than any event has.
	detailsMost = 32
	// lineMost bounds what a reader takes for a line: an event of detailsMost values
	// of valueMost bytes of which each takes six in JSON is shorter.
	lineMost = 512 << 10
)

// timeLayout is RFC 3339 with milliseconds, so that lines align.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Event is something that happened in a pool's life.
type Event struct {
	Time    time.Time
	Level   string // INFO, WARN or ERROR
	Kind    string
	Message string
	// Details are what else there is to say, such as the leg, in the order in which
	// it was said.
	Details []Detail
}

// Detail is a thing to know of an event: a string, a number or a truth.
type Detail struct {
	Name  string
	Value any
}

// Detail returns what an event says under a name, as text; "" if nothing.
func (e *Event) Detail(name string) string {
	for _, d := range e.Details {
		if d.Name == name {
			return fmt.Sprint(d.Value)
		}
	}
	return ""
}

// String is the event on one line, for people.
func (e *Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-5s  %-17s  %s", e.Time.UTC().Format(timeLayout), e.Level, e.Kind, printable(e.Message))
	sep := ": "
	for _, d := range e.Details {
		value := printable(fmt.Sprint(d.Value))
		if strings.ContainsAny(value, " ,") {
			value = fmt.Sprintf("%q", value)
		}
		fmt.Fprintf(&b, "%s%s=%s", sep, printable(d.Name), value)
		sep = " "
	}
	return b.String()
}

// printable replaces what would move a terminal's cursor: the file may have been
// written by anybody.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return utf8.RuneError
		}
		return r
	}, s)
}

// MarshalJSON returns the event as one object, as a line of the file is.
func (e Event) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	put := func(name string, value any) error {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(name)
		if err != nil {
			return err
		}
		v, err := json.Marshal(value)
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
		return err
	}
	err := errors.Join(put("time", e.Time.UTC().Format(timeLayout)), put("level", e.Level), put(Key, e.Kind), put("message", e.Message))
	for _, d := range e.Details {
		err = errors.Join(err, put(d.Name, d.Value))
	}
	b.WriteByte('}')
	return b.Bytes(), err
}

var errNoEvent = errors.New("not an event")

// UnmarshalJSON reads what MarshalJSON writes. What is nested is refused.
func (e *Event) UnmarshalJSON(b []byte) error {
	*e = Event{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errNoEvent
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return errNoEvent
		}
		value, err := d.Token()
		if _, nested := value.(json.Delim); err != nil || nested {
			return errNoEvent
		}
		if err := e.set(name.(string), value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil || e.Kind == "" {
		return errNoEvent
	}
	return nil
}

// set takes a member of the object.
func (e *Event) set(name string, value any) (err error) {
	s, _ := value.(string)
	switch name {
	case "time":
		e.Time, err = time.Parse(time.RFC3339, s)
	case "level":
		e.Level = s
	case Key:
		e.Kind = s
	case "message":
		e.Message = s
	default:
		if len(e.Details) == detailsMost {
			return errNoEvent
		}
		e.Details = append(e.Details, Detail{name, value})
	}
	return err
}

// add takes an attribute of a record, whose name the open groups stand before.
func (e *Event) add(group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		for _, in := range v.Group() {
			e.add(group+a.Key+".", in)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	d := Detail{Name: cut(group + a.Key)}
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64:
		d.Value = v.Any()
	case slog.KindFloat64:
		d.Value = v.Float64()
		if f := v.Float64(); math.IsNaN(f) || math.IsInf(f, 0) {
			d.Value = v.String() // JSON has no such number
		}
	default:
		d.Value = cut(v.String())
	}
	if d.Name == Key {
		e.Kind, _ = d.Value.(string)
		return
	}
	if len(e.Details) < detailsMost {
		e.Details = append(e.Details, d)
	}
}

// cut bounds a value.
func cut(s string) string {
	if len(s) > valueMost {
		s = s[:valueMost] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
