//! HTTP/1 through the whole edge, as bytes on sockets.

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::site;
use tests::upstream::Upstream;

#[test]
fn a_request_goes_through_and_connections_of_both_sides_are_kept() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    for turn in 0..5 {
        let answer = client.get("shop.example", &format!("/a?turn={turn}"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(requests[4].target, "/a?turn=4");
    assert_eq!(requests[4].fields.one("host"), Some("shop.example"));
    assert_eq!(requests[4].fields.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(upstream.connections(), 1);
}
