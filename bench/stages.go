package main

import (
	"context"
	"time"
)

// stages are all that can be measured, in this order.
func stages() []stage {
	return []stage{
		{"limits", limitNames(), openLimits},
		{"nothing", jobNames(nothingLimits), openNothing},
		{"in-process", []string{readInside, writeInside, storeSteady, storeFirst}, openLocal},
		{"warm", jobNames(warmJobs), openWarm},
		{"cost", jobNames(costJobs), openCost},
		{"cold", jobNames(coldJobs), openCold},
		{"tight", jobNames(tightJobs), openTight},
		{"copy", []string{copyIn, copyOut}, openCopy},
		{"start", []string{startOf}, openStart},
		{"resync", []string{resyncOf}, openResync},
		{"memory", []string{memoryOf}, openMemory},
	}
}

func jobNames(jobs []job) (names []string) {
	for _, j := range jobs {
		names = append(names, j.name)
	}
	return names
}

// servers makes and launches those kinds that can run here.
func (r *runner) servers(h *host, kinds []kind, size, budget int64, group func(name string) (string, error)) ([]*server, error) {
	var all []*server
	for _, k := range kinds {
		if k.name != ourselves && !r.o.peers.MatchString(k.name) {
			continue
		}
		if why := k.missing(); why != "" {
			r.leaveOut(k.name, why)
			continue
		}
		limit, err := "", error(nil)
		if group != nil {
			if limit, err = group(k.name); err != nil {
				return nil, err
			}
		}
		s, err := newServer(h, k, size, budget, limit)
		if err == nil {
			err = s.launch(h.ctx)
		}
		if h.ctx.Err() != nil {
			return nil, h.ctx.Err()
		}
		if err != nil {
			r.fail(k.name, err)
			continue
		}
		all = append(all, s)
	}
	return all, nil
}

// roomy is a cache that a volume fits into, and the half of which that may be
// dirty as well.
func roomy(size int64) int64 { return 2 * size }

// needFio says that there is nothing without it.
func needFio() error {
	_, err := lookPath("fio")
	return err
}

// compare is an experiment in which a job goes to each server; one that takes long
// to those only of whom a bar speaks.
func (r *runner) compare(j job, all []*server) experiment {
	e := experiment{name: j.name}
	for _, s := range all {
		if j.lasts > 0 && !needed(j.name, s.name) {
			continue
		}
		e.contestants = append(e.contestants, contestant{s.name, func(ctx context.Context, round int) (figures, error) {
			return s.load(ctx, j, r.o.runtime, round)
		}})
	}
	return e
}

// serversAndFile launches servers with room for all of their volumes, and makes a bare
// file beside them.
func (r *runner) serversAndFile(h *host, kinds []kind) (all []*server, file bare, err error) {
	if err = needFio(); err != nil {
		return nil, file, err
	}
	if all, err = r.servers(h, kinds, r.o.size, roomy(r.o.size), nil); err != nil {
		return nil, file, err
	}
	file, err = newBareFile(h, r.o.size)
	return all, file, err
}

// openWarm has all servers run at once, and those that wait for their turn idle:
// so the turns of one experiment follow each other closely.
func openWarm(r *runner, h *host) ([]experiment, error) {
	all, file, err := r.serversAndFile(h, append([]kind{itself(r.o.holdfast)}, peers...))
	if err != nil {
		return nil, err
	}
	var found []experiment
	for _, j := range firstOf(warmJobs, r.o.quick, quickJobs) {
		e := r.compare(j, all)
		if j.name == flushEach {
			e.contestants = append(e.contestants, file.contestant(r, j))
		}
		found = append(found, e)
	}
	return found, nil
}

// openCost compares pools with different settings. There are many of them, so
// each has a smaller volume.
func openCost(r *runner, h *host) ([]experiment, error) {
	if err := needFio(); err != nil {
		return nil, err
	}
	const share = 2
	kinds := []kind{itself(r.o.holdfast)}
	for _, v := range variants {
		if !r.o.quick || v.name == oneBareLeg {
			kinds = append(kinds, v.kind(r.o.holdfast))
		}
	}
	size := r.o.size / share
	all, err := r.servers(h, kinds, size, roomy(size), nil)
	if err != nil {
		return nil, err
	}
	var found []experiment
	for _, j := range firstOf(costJobs, r.o.quick, quickCostJobs) {
		found = append(found, r.compare(j, all))
	}
	return found, nil
}

// openCold stops a server before its turn and takes its files out of memory.
func openCold(r *runner, h *host) ([]experiment, error) {
	kinds := []kind{itself(r.o.holdfast)}
	for _, k := range peers {
		if !k.volatile && (!r.o.quick || k.name == nbdkitFile) {
			kinds = append(kinds, k)
		}
	}
	all, file, err := r.serversAndFile(h, kinds)
	if err != nil {
		return nil, err
	}
	var found []experiment
	for _, j := range firstOf(coldJobs, r.o.quick, 1) {
		e := experiment{name: j.name}
		for _, c := range r.compare(j, all).contestants {
			s := serverOf(all, c.name)
			e.contestants = append(e.contestants, contestant{c.name, func(ctx context.Context, round int) (figures, error) {
				if err := s.cool(ctx); err != nil {
					return nil, err
				}
				return c.turn(ctx, round)
			}})
		}
		e.contestants = append(e.contestants, file.contestant(r, j))
		found = append(found, e)
	}
	return found, nil
}

func serverOf(all []*server, name string) *server {
	for _, s := range all {
		if s.name == name {
			return s
		}
	}
	return nil
}

// openTight gives each server a fourth of the memory that its volume has. Our
// cache has that by its own setting, and the rest of the group's limit is for all
// to run in.
func openTight(r *runner, h *host) ([]experiment, error) {
	if err := needFio(); err != nil {
		return nil, err
	}
	const share, rest = 4, 64 << 20
	if r.o.quick {
		return nil, nil
	}
	kinds := []kind{itself(r.o.holdfast)}
	for _, k := range peers {
		if k.volatile {
			r.leaveOut(k.name+", with a cache of a fourth", "it has all of the volume in its own memory")
			continue
		}
		kinds = append(kinds, k)
	}
	budget := r.o.size / share
	groups, err := newGroups(h)
	if err != nil {
		r.leaveOut("a cache of a fourth", err.Error())
		return nil, nil
	}
	all, err := r.servers(h, kinds, r.o.size, budget, func(name string) (string, error) { return groups.limit(name, budget+rest) })
	if err != nil {
		return nil, err
	}
	var found []experiment
	for _, s := range all {
		// What was filled was cached on our account.
		if err := s.cool(h.ctx); err != nil {
			return nil, err
		}
	}
	for _, j := range tightJobs {
		found = append(found, r.compare(j, all))
	}
	return found, nil
}

// openCopy copies whole volumes in, until they are durable, and out.
func openCopy(r *runner, h *host) ([]experiment, error) {
	if r.o.quick {
		return nil, nil
	}
	if _, err := lookPath("nbdcopy"); err != nil {
		return nil, err
	}
	all, err := r.servers(h, append([]kind{itself(r.o.holdfast)}, peers...), r.o.size, roomy(r.o.size), nil)
	if err != nil {
		return nil, err
	}
	image, err := image(h.ctx, h.files, r.o.size)
	if err != nil {
		return nil, err
	}
	into, from := experiment{name: copyIn}, experiment{name: copyOut}
	for _, s := range all {
		into.contestants = append(into.contestants, s.copying(r.o.size, "--flush", image, s.uri()))
		from.contestants = append(from.contestants, s.copying(r.o.size, s.uri(), "null:"))
	}
	return []experiment{into, from}, nil
}

func (s *server) copying(size int64, args ...string) contestant {
	return contestant{s.name, func(ctx context.Context, _ int) (figures, error) {
		began := time.Now()
		if _, err := output(ctx, "nbdcopy", args...); err != nil {
			return nil, err
		}
		took := time.Since(began).Seconds()
		return figures{seconds: took, bytesPerSecond: float64(size) / took}, s.quiet(ctx)
	}}
}
