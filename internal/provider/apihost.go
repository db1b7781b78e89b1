package provider

// Validate reports why tokens may not be sent to the host as it is configured,
// so that a configuration can be judged line by line before its provider is
// made.
func (h APIHost) Validate() error {
	_, err := parseAPIHost(h)
	return err
}
