use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::LocalSet;

use super::*;

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn bytes_go_both_ways_and_the_end_of_one_side_is_passed_on() {
    run(async {
        let clock = Clock::new(Instant::now());
        let (mut client, mut near) = duplex(64);
        let (mut far, mut upstream) = duplex(64);
        let copying = both(&mut near, &mut far, &clock, Duration::ZERO);
        let talking = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut asked = Vec::new();
            upstream.read_to_end(&mut asked).await.unwrap();
            assert_eq!(asked, b"question");
            // The other side still has its say, more than the pipe holds at once.
            let answer = vec![b'x'; 100_000];
            let (written, read) = tokio::join!(
                async {
                    upstream.write_all(&answer).await.unwrap();
                    upstream.shutdown().await.unwrap();
                },
                async {
                    let mut got = Vec::new();
                    client.read_to_end(&mut got).await.unwrap();
                    got
                }
            );
            let () = written;
            assert_eq!(read, answer);
        };
        let ((copied, ending), ()) = tokio::join!(copying, talking);
        assert!(matches!(ending, Ending::Complete), "{ending:?}");
        assert_eq!(copied, Copied { from_client: 8, to_client: 100_000 });
    });
}

#[test]
fn silence_ends_it() {
    run(async {
        let start = Instant::now();
        let clock = Clock::new(start);
        let (_client, mut near) = duplex(64);
        let (mut far, _upstream) = duplex(64);
        let copying = both(&mut near, &mut far, &clock, Duration::from_secs(10));
        let time_passes = async {
            tokio::task::yield_now().await;
            clock.tick(start + Duration::from_secs(9));
            tokio::task::yield_now().await;
            clock.tick(start + Duration::from_secs(11));
        };
        let ((copied, ending), ()) = tokio::join!(copying, time_passes);
        assert!(matches!(ending, Ending::Idle), "{ending:?}");
        assert_eq!(copied, Copied::default());
    });
}
