package main

import (
	"net/url"
	"strings"
)

// unixURI is how NBD clients name a volume behind a Unix socket.
func unixURI(volume, socket string) string {
	// A slash needs no escape in a query, and paths are meant to be read.
	path := strings.ReplaceAll(url.QueryEscape(socket), "%2F", "/")
	return "nbd+unix:///" + volume + "?socket=" + strings.ReplaceAll(path, "+", "%20")
}

// tcpURI is how NBD clients name a volume behind a TCP address.
func tcpURI(volume, addr string) string { return "nbd://" + addr + "/" + volume }
