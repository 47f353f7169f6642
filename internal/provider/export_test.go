package provider

// Paces is how many paces are kept.
func (p *Pool) Paces() int {
	p.mu.Lock()
	defer p.mu.Unlock()

	return len(p.paces)
}
