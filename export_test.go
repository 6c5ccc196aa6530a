package holdfast

import "context"

// Abandon leaves the pool as a crash would: nothing is synced or written.
func (p *Pool) Abandon() {
	p.keeper.stop()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	p.server.Shutdown(gone)
	p.mapper.Shutdown(gone)
	p.cache.Abandon()
	p.mapper.Close()
	p.mirror.Abandon()
	p.scrubs.Wait()
	p.events.Close()
	p.lock.release()
}
