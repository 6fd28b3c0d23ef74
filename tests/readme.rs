//! The README's programs do what it says of them. They stand in `tests/readme` letter for letter, so that they can be run.

#![cfg(all(feature = "cluster", feature = "threads", feature = "tokio", feature = "tls", feature = "scram"))]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "a host has a clock")]

use milena::cluster::TestCluster;

#[test]
fn the_readme_has_these_programs() {
    let readme = include_str!("../README.md");
    let blocks: Vec<String> = readme
        .split("\n```rust,no_run\n")
        .skip(1)
        .map(|block| {
            let code = block.split_once("\n```").unwrap().0;
            // Lines with a hash are for the documentation's tests, and not shown there.
            let shown = code.lines().filter(|line| !line.starts_with("# "));
            shown.flat_map(|line| [line, "\n"]).collect()
        })
        .collect();
    let programs = [
        include_str!("readme/threads.rs"),
        include_str!("readme/tokio.rs"),
        include_str!("readme/secured.rs"),
        include_str!("readme/in_code.rs"),
        include_str!("readme/by_hand.rs"),
    ];
    assert_eq!(blocks, programs, "the README's programs are those of tests/readme, in that order");
}

/// What topic `orders` holds.
fn orders(cluster: &TestCluster) -> Vec<String> {
    let value = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    let mut orders: Vec<_> =
        cluster.records("orders").iter().map(|(_, record)| value(record.value.as_deref())).collect();
    orders.sort();
    orders
}

#[allow(dead_code, reason = "main produces to a fixed address")]
mod threads {
    include!("readme/threads.rs");

    #[test]
    fn delivers_both() {
        let cluster = super::TestCluster::start().unwrap();
        produce(&cluster.bootstrap()).unwrap();
        assert_eq!(super::orders(&cluster), ["2 pears", "3 apples"]);
    }
}

mod tokio {
    include!("readme/tokio.rs");

    #[test]
    fn delivers_both() {
        let cluster = super::TestCluster::start().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(produce(&cluster.bootstrap())).unwrap();
        assert_eq!(super::orders(&cluster), ["2 pears", "3 apples"]);
    }
}

mod secured {
    include!("readme/secured.rs");

    #[test]
    fn delivers() {
        let cluster = super::TestCluster::builder().user("alice", "secret").tls().start().unwrap();
        let lines = cluster.properties().into_iter().map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('\n', "\\n");
            format!("{name}={value}\n")
        });
        let file = std::env::temp_dir().join(format!("milena-readme-{}.properties", std::process::id()));
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        let producer = secured(file.to_str().unwrap());
        std::fs::remove_file(&file).unwrap();
        producer.unwrap().send(&milena::Record::new("orders").value("3 apples")).unwrap();
        assert_eq!(super::orders(&cluster), ["3 apples"]);
    }
}

mod in_code {
    include!("readme/in_code.rs");

    #[test]
    fn delivers() {
        let cluster = super::TestCluster::builder().user("alice", "secret").tls().start().unwrap();
        let authority = cluster.properties().into_iter().find(|(name, _)| name == "ssl.truststore.certificates");
        let file = std::env::temp_dir().join(format!("milena-readme-{}.pem", std::process::id()));
        std::fs::write(&file, authority.unwrap().1).unwrap();
        let producer = secured_in_code(&cluster.bootstrap(), "secret", file.to_str().unwrap());
        std::fs::remove_file(&file).unwrap();
        producer.unwrap().send(&milena::Record::new("orders").value("3 apples")).unwrap();
        assert_eq!(super::orders(&cluster), ["3 apples"]);
    }
}

mod by_hand {
    include!("readme/by_hand.rs");

    use milena::cluster::{Mischief, Request, Treatment};

    /// Runs the loop; returns how long it took by the machine's clock.
    fn take_time(cluster: &super::TestCluster) -> Duration {
        let start = std::time::Instant::now();
        let now = || Instant::from_nanos(start.elapsed().as_nanos() as u64);
        run(&cluster.bootstrap(), now, UnixTime::from_millis(1_700_000_000_000), [7; 32]).unwrap();
        start.elapsed()
    }

    #[test]
    fn delivers() {
        let cluster = super::TestCluster::start().unwrap();
        take_time(&cluster);
        assert_eq!(super::orders(&cluster), ["3 apples"]);
    }

    /// Closes the connection at the first Produce request.
    #[derive(Debug)]
    struct HangsUp(bool);

    impl Mischief for HangsUp {
        fn request(&mut self, _: i32, request: Request) -> Treatment {
            if request == Request::Produce && std::mem::take(&mut self.0) {
                Treatment::HangUp
            } else {
                Treatment::Serve
            }
        }
    }

    #[test]
    fn a_connection_that_ends_is_made_anew_at_once() {
        let cluster = super::TestCluster::start().unwrap();
        cluster.with(|cluster, _| cluster.set_mischief(Box::new(HangsUp(true))));
        let taken = take_time(&cluster);
        assert_eq!(super::orders(&cluster), ["3 apples"]);
        let timeout = Config::new("h:1").unwrap().request_timeout();
        assert!(taken < timeout, "it took {taken:?}, as if it had waited for request.timeout.ms");
    }
}
