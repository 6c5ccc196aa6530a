package mirror

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/journal"
)

// bringUpRing replays the journal to every leg in sync or joining, the ordinary
// way, and opens it empty. Until its header is durable nothing that it held is
// overwritten, so this may be cut off and run again. without says that what
// cannot be read may be lost.
func (m *Mirror) bringUpRing(without bool) error {
	if !m.geo.Journal {
		return nil
	}
	rec, err := m.scanRing(without)
	if err != nil {
		return err
	}
	err = rec.Level(func(w journal.Write) error {
		ok, err := m.onLegsAt(m.roll().targets(), opRing, []journal.Write{w})
		return m.settle(ok, err)
	})
	if err == nil {
		err = m.flushLegs()
	}
	if err == nil {
		err = m.replay(rec)
	}
	if err == nil {
		err = m.flushLegs()
	}
	if errors.Is(err, journal.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrJournal, err) // it reads otherwise than a moment ago
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j, h := rec.Open()
	if err := m.land(j, h); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	m.ring.j = j
	m.ring.replayed.Store(uint64(rec.Blocks))
	return nil
}

// scanRing reads the journal of the legs in sync.
func (m *Mirror) scanRing(without bool) (*journal.Recovery, error) {
	var legs []*leg
	var devices []device.Device
	for i, l := range m.legs() {
		if m.inSync().has(i) {
			legs, devices = append(legs, l), append(devices, l.dev)
		}
	}
	c := m.geo.JournalConfig(m.pool)
	rec, err := journal.Scan(c, devices)
	if err != nil && (without || !m.unclean) {
		// It was closed, so there was nothing in it; or somebody does without.
		m.slog.Error("journal: no leg has it, and it is made anew", eventlog.Key, eventlog.JournalLost, "lost", m.unclean, "error", err)
		if err = m.formatRing(c); err == nil {
			rec, err = journal.Scan(c, devices)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	for i, fault := range rec.Faults {
		if fault != nil {
			m.chargeFault(legs[i], fault)
		}
	}
	if rec.Lost != nil && !without {
		return nil, fmt.Errorf("%w: %w", ErrJournal, rec.Lost)
	}
	if rec.Lost != nil {
		m.ring.lost.Add(1)
		m.slog.Error("journal: something that was flushed is lost", eventlog.Key, eventlog.JournalLost, "error", rec.Lost)
	}
	if rec.Blocks > 0 {
		m.slog.Info("journal: blocks are written home", eventlog.Key, eventlog.JournalReplayed, "blocks", rec.Blocks, "transactions", rec.Transactions)
	}
	return rec, nil
}

// chargeFault charges a leg with a fault of its journal.
func (m *Mirror) chargeFault(l *leg, err error) {
	if errors.Is(err, journal.ErrDamaged) {
		l.guardErrors.Add(1)
		m.slog.Warn("journal: a leg does not have what was written to it", eventlog.Key, eventlog.LegError, "leg", l.name, "error", err)
		return
	}
	m.charge(l, &l.readErrors, "read the journal", 0, 0, err)
}

// formatRing makes the journal of every leg anew.
func (m *Mirror) formatRing(c journal.Config) error {
	w, err := journal.Format(c)
	if err != nil {
		return err
	}
	ok, err := m.onLegsAt(m.roll().targets(), opHeader, []journal.Write{w})
	return m.settle(ok, err)
}

// replay writes home what was found.
func (m *Mirror) replay(rec *journal.Recovery) error {
	// The bits of all regions with one write of the log.
	rec.Find(func(block uint64) {
		i, _ := m.regions.span(int64(block)*BlockSize, BlockSize)
		m.regions.begin(i, i)
	})
	defer rec.Find(func(block uint64) {
		i, _ := m.regions.span(int64(block)*BlockSize, BlockSize)
		m.regions.end(i, i)
	})
	if err := m.syncLog(); err != nil {
		return err
	}
	b := m.oneBlock.get()
	defer m.oneBlock.put(b)
	return rec.Replay(func(r journal.Replayed) error {
		if r.Sectors != journal.AllSectors {
			return fmt.Errorf("%w: the journal has a part of the block at %d: use a newer program", ErrUnsupported, int64(r.Block)*BlockSize)
		}
		op, p := opZero, []byte(nil)
		if r.Data != nil {
			op, p = opWrite, b[:]
			copy(p, r.Data)
		}
		return m.writeHome(op, p, int64(r.Block)*BlockSize, BlockSize, []guard.Tuple{guard.Tuple(r.Tuple)})
	})
}
