//! Many elements on one port, and whether one is felt by the others. `make scale` measures what each costs.

#[path = "../support/mod.rs"]
mod support;

mod shared;

use std::time::Duration;

use shared::{RESTARTS, assert_complete, publish, restart_one, start};
use support::station;
use support::steady::in_real_time;

/// The process that is measured: see `support/station.rs`.
#[test]
fn station() {
    station::run();
}

#[test]
fn two_hundred_publishers_come_at_once_to_one_port_and_all_are_whole() {
    const PUBLISHERS: usize = 200;
    const SECONDS: usize = 4;
    let (station, address) = start(PUBLISHERS, "");
    publish(&station, address, PUBLISHERS, SECONDS, || ());
    assert_complete(&station, PUBLISHERS, SECONDS);
    let usage = station.usage().unwrap();
    assert_eq!((usage.rejected, usage.handshake_failures), (0, 0));
}

#[test]
fn restarting_one_element_disturbs_no_other() {
    const OTHERS: usize = 20;
    const SECONDS: usize = 12;
    /// Pictures are 40 ms apart.
    const BOUND: Duration = Duration::from_millis(200);
    in_real_time(|| {
        let (station, address) = start(OTHERS + 1, "");
        publish(&station, address, OTHERS, SECONDS, || {
            station.usage().unwrap();
            restart_one(&station, address, OTHERS, RESTARTS);
            // Of the others as well: the one that is restarted has the same pictures.
            let gap = station.usage().unwrap().longest_gap;
            assert!(gap < BOUND, "{gap:?}");
        });
        assert_complete(&station, OTHERS, SECONDS);
    });
}
