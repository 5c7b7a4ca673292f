// names answers every question of DNS on UDP port 53: the name is there, and nothing is known of it.
package main

import (
	"log"
	"net"
)

func main() {
	socket, err := net.ListenPacket("udp", ":53")
	if err != nil {
		log.Fatal(err)
	}
	packet := make([]byte, 4096)
	for {
		length, client, err := socket.ReadFrom(packet)
		if err != nil {
			log.Fatal(err)
		}
		if length < 12 {
			continue
		}
		packet[2] |= 0x80 // A response (RFC 1035 §4.1.1); the question stays as it is.
		if _, err := socket.WriteTo(packet[:length], client); err != nil {
			log.Print(err)
		}
	}
}
