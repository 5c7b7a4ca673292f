use std::sync::{Arc, Mutex};

use hickory_proto::op::MessageType;
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::{A, CNAME, NS, TXT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// A name server for tests, on loopback.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone(pub(crate) Arc<Mutex<Content>>);

#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) records: Vec<(String, RData)>,
    /// Every answer over UDP is cut.
    pub(crate) truncates: bool,
    pub(crate) code: Option<ResponseCode>,
}

impl Zone {
    pub(crate) fn with(records: &[(&str, RData)]) -> Zone {
        let records = records.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
        Zone(Arc::new(Mutex::new(Content { records, ..Content::default() })))
    }

    /// Serves until the runtime ends.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = udp.local_addr().expect("an address");
        let tcp = TcpListener::bind(address).await.expect("the same port");
        let zone = self.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
                let truncates = zone.0.lock().expect("no panic").truncates;
                let answer = zone.answer(&buffer[..length], truncates);
                let _ = udp.send_to(&answer, peer).await;
            }
        });
        let zone = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut question = vec![0; stream.read_u16().await.expect("a length").into()];
                stream.read_exact(&mut question).await.expect("a question");
                let answer = zone.answer(&question, false);
                let length = u16::try_from(answer.len()).expect("short");
                stream.write_all(&[&length.to_be_bytes(), &*answer].concat()).await.expect("written");
            }
        });
        address
    }

    fn answer(&self, question: &[u8], truncates: bool) -> Vec<u8> {
        let content = self.0.lock().expect("no panic");
        let question = Message::from_vec(question).expect("a question");
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.queries = question.queries.clone();
        answer.metadata.response_code = content.code.unwrap_or(ResponseCode::NoError);
        answer.metadata.truncation = truncates;
        let asked = &question.queries[0];
        let name = text(asked.name());
        for (owner, data) in content.records.iter().filter(|_| !truncates) {
            if *owner == name && data.record_type() == asked.query_type() {
                answer.answers.push(Record::from_rdata(asked.name().clone(), 5, data.clone()));
            }
        }
        answer.to_vec().expect("an answer")
    }
}

pub(crate) fn txt(value: &str) -> RData {
    RData::TXT(TXT::new(vec![value.to_owned()]))
}

fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(parse(target).expect(target)))
}

fn asking(resolver: SocketAddr) -> Dns {
    Dns { resolvers: vec![resolver], authoritative_port: resolver.port() }
}

#[tokio::test]
async fn delegation_is_followed_to_its_end() {
    let zone = Zone::with(&[
        ("_acme-challenge.a.test", cname("one.delegated.test")),
        ("one.delegated.test", cname("Two.Delegated.test")),
    ]);
    let dns = asking(zone.serve().await);
    assert_eq!(dns.follow("_acme-challenge.a.test").await.as_deref(), Ok("two.delegated.test"));
    assert_eq!(dns.follow("_acme-challenge.b.test").await.as_deref(), Ok("_acme-challenge.b.test"));
}

#[tokio::test]
async fn a_loop_of_aliases_and_a_long_chain_end_where_they_began() {
    let zone = Zone::with(&[("a.test", cname("b.test")), ("b.test", cname("a.test"))]);
    let dns = asking(zone.serve().await);
    assert_eq!(dns.follow("a.test").await.as_deref(), Ok("a.test"));
    let chain: Vec<_> =
        (0..=ALIASES_MAX).map(|n| (format!("n{n}.test"), cname(&format!("n{}.test", n + 1)))).collect();
    zone.0.lock().expect("no panic").records = chain;
    assert_eq!(dns.follow("n0.test").await.as_deref(), Ok("n0.test"));
    assert_eq!(
        dns.follow("n1.test").await.as_deref(),
        Ok("n1.test"),
        "ten steps would be needed to know the end"
    );
    assert_eq!(dns.follow("n2.test").await.as_deref(), Ok("n11.test"));
}

#[tokio::test]
async fn every_server_of_the_zone_is_asked_and_cut_answers_come_by_tcp() {
    let zone = Zone::with(&[
        ("a.test", RData::NS(NS(parse("ns.a.test").expect("a name")))),
        ("ns.a.test", RData::A(A("127.0.0.1".parse().expect("an address")))),
        ("_acme-challenge.a.test", txt("one")),
        ("_acme-challenge.a.test", txt("two")),
    ]);
    let server = zone.serve().await;
    let dns = asking(server);
    for truncates in [false, true] {
        zone.0.lock().expect("no panic").truncates = truncates;
        let seen = dns.look(&Check::Authoritative, "a.test", "_acme-challenge.a.test").await.expect("asked");
        assert_eq!(seen, [Seen { server, values: Ok(vec!["one".to_owned(), "two".to_owned()]) }]);
    }
    assert_eq!(
        dns.look(&Check::Authoritative, "b.test", "x.b.test").await,
        Err(DnsError::NoServer("b.test".to_owned()))
    );
}

#[tokio::test]
async fn a_refusal_and_silence_are_told_with_the_server() {
    let zone = Zone::with(&[]);
    let server = zone.serve().await;
    zone.0.lock().expect("no panic").code = Some(ResponseCode::ServFail);
    let error = asking(server).follow("a.test").await.expect_err("it fails").to_string();
    assert!(error.contains(&server.to_string()) && error.contains("a.test"), "{error}");
    let seen = asking(server).look(&Check::Servers(vec![server]), "a.test", "x.a.test").await.expect("asked");
    assert!(matches!(seen[0].values, Err(DnsError::Refused { .. })));
    // A port that nothing listens on.
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let error = asking(closed).follow("a.test").await.expect_err("nobody is there");
    assert!(matches!(error, DnsError::Silent { server, .. } if server == closed), "{error:?}");
    let none = Dns { resolvers: Vec::new(), authoritative_port: 53 };
    assert_eq!(none.follow("a.test").await, Err(DnsError::NoResolver));
}

#[test]
fn a_record_is_published_when_all_that_answer_have_it_and_most_answer() {
    let server = |last: u8| SocketAddr::from(([192, 0, 2, last], 53));
    let has = |last, values: &[&str]| Seen {
        server: server(last),
        values: Ok(values.iter().map(|value| (*value).to_owned()).collect()),
    };
    let silent = |last| Seen {
        server: server(last),
        values: Err(DnsError::Silent { server: server(last), error: "refused".to_owned() }),
    };
    let wanted = ["one".to_owned(), "two".to_owned()];
    assert_eq!(judge(&[has(1, &["one", "two", "other"])], &wanted), Ok(()));
    assert!(judge(&[has(1, &["one", "two"]), has(2, &["one"])], &wanted).is_err());
    assert_eq!(judge(&[has(1, &["one", "two"]), has(2, &["two", "one"]), silent(3)], &wanted), Ok(()));
    assert!(judge(&[has(1, &["one", "two"]), silent(2)], &wanted).is_err(), "half is not most");
    assert!(judge(&[], &wanted).is_err());
    let told = judge(&[has(1, &["one"]), has(2, &[]), silent(3)], &wanted).expect_err("one lacks it");
    assert_eq!(
        told,
        "192.0.2.1:53 has one; 192.0.2.2:53 has no such record; 192.0.2.3:53 does not answer (refused)"
    );
}
