"""What serving costs: the store and the service core (`core`), and the service over HTTP."""
