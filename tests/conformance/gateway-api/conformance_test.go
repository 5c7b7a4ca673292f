// Package conformance runs the official suite of Gateway API as it is; tests/run gives it its flags.
package conformance

import (
	"os"
	"testing"

	v1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
)

// The suite asks for addresses that it may use, and for some that nobody has.
func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.UsableNetworkAddresses = addresses(os.Getenv("USABLE_ADDRESS"))
	options.UnusableNetworkAddresses = addresses("192.0.2.1")
	conformance.RunConformanceWithOptions(t, options)
}

func addresses(ip string) []v1.GatewaySpecAddress {
	kind := v1.IPAddressType
	return []v1.GatewaySpecAddress{{Type: &kind, Value: ip}}
}
