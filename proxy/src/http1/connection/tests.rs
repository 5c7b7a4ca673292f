use std::rc::Rc;

use super::*;
use crate::message::Request;

type Answering<F> =
    fn(&'static Rc<Worker>, &'static Rc<Client>, &'static mut Request, &'static mut Record) -> F;

fn size<F>(_: Answering<F>) -> usize {
    size_of::<F>()
}

fn size_of_serving<F>(_: fn(&'static Rc<Worker>, &'static Rc<Client>, Transport) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connection_that_waits_is_small() {
    let bytes = size_of_serving(serve);
    assert!(bytes <= PARKED_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn a_request_on_its_way_is_small() {
    // It is copied when it begins, and every request begins one.
    let bytes = size(request::answer);
    assert!(bytes <= ANSWERING_BYTES_MAX, "{bytes} bytes");
}

const PARKED_BYTES_MAX: usize = 256;
const ANSWERING_BYTES_MAX: usize = 2048;
