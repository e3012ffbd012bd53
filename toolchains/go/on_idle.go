// What the asynchronous bindings of wit-bindgen need of Go's scheduler, and Go does not have yet:
// to be told when every goroutine waits, so that the component can hand control back to its host.
// `cargo xtask setup` lays this file into Go's runtime as an overlay, in place of the function of
// the same name in lock_wasip1.go, which does nothing.

//go:build wasip1

package runtime

import _ "unsafe" // for go:linkname

// Called, in a goroutine of its own, each time when no other goroutine can run. Once it has said
// false it is forgotten.
var idleCallback func() bool

//go:linkname wasiOnIdle
func wasiOnIdle(callback func() bool) {
	idleCallback = callback
}

func callIdleCallback() {
	if callback := idleCallback; callback != nil && !callback() {
		idleCallback = nil
	}
}

// beforeIdle is what the scheduler asks when it has found nothing to run: it says whether there is
// something now. While a timer is pending (pollUntil), the scheduler sleeps until it is due, and the
// whole instance with it.
//
//go:yeswritebarrierrec
func beforeIdle(now, pollUntil int64) (gp *g, otherReady bool) {
	if idleCallback == nil || pollUntil != 0 {
		return nil, false
	}
	go callIdleCallback()
	return nil, true
}
