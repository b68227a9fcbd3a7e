//! The benchmark's own instruments: its counting of replies and its histogram of latencies.

#[path = "bench/histogram.rs"]
mod histogram;
#[path = "bench/load.rs"]
#[allow(dead_code)]
mod load;
#[path = "bench/sys.rs"]
#[allow(dead_code)]
mod sys;

use histogram::Histogram;
use load::Replies;

#[test]
fn replies_are_counted_in_any_pieces() {
    let stream = b"+OK\r\n:12\r\n$5\r\na\r\n*b\r\n$0\r\n\r\n$-1\r\n*0\r\n*-1\r\n*2\r\n$1\r\nx\r\n*2\r\n:1\r\n$2\r\n\r\n\r\n*1\r\n*1\r\n*0\r\n-ERR no\r\n";
    for size in 1..=stream.len() {
        let mut replies = Replies::default();
        let count: u64 = stream.chunks(size).map(|piece| replies.take(piece)).sum();
        assert_eq!(count, 10, "in pieces of {size}");
        assert_eq!(replies.error.as_deref(), Some("-ERR no\\r\\n"), "in pieces of {size}");
    }
    assert_eq!(Replies::default().take(&stream[..stream.len() - 1]), 9, "the last one is not whole");
}

#[test]
fn the_histogram_is_within_a_hundredth() {
    let mut histogram = Histogram::default();
    for ns in 1..=100_000 {
        histogram.record(ns, 2);
    }
    let mut more = Histogram::default();
    more.record(u64::MAX, 1);
    for share in [0.001, 0.5, 0.99, 0.999] {
        let (found, true_ns) = (histogram.at(share) as f64, share * 100_000.0);
        assert!(found >= true_ns && found <= true_ns * 1.01, "{share}: {found}");
    }
    assert_eq!((histogram.at(1.0), histogram.max()), (100_000, 100_000));
    histogram.merge(&more);
    assert_eq!((histogram.at(1.0), histogram.max()), (u64::MAX, u64::MAX));
    assert!(histogram.at(0.5) <= 50_500);
}
