package limitlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What is left out is counted, and told when lines may be logged again.
func TestWarn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := Log{Out: slog.New(slog.NewTextHandler(&out, nil))}
		for range 3 * Burst {
			l.Warn("client refused")
		}
		if n := strings.Count(out.String(), "client refused"); n != Burst {
			t.Errorf("%d lines were logged at once, want %d", n, Burst)
		}
		time.Sleep(window)
		l.Warn("client refused")
		l.Warn("client refused")
		if n := strings.Count(out.String(), "similar_lines_left_out=40"); n != 1 {
			t.Errorf("%d lines tell how many were left out:\n%s", n, out.String())
		}
		if n := strings.Count(out.String(), "client refused"); n != Burst+2 {
			t.Errorf("%d lines were logged in all, want %d", n, Burst+2)
		}
	})
}
