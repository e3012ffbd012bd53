//! Time as guests see it.

use std::time::{SystemTime, UNIX_EPOCH};

use dhow_tests::{Up, client::get, dhow, guests::guest};

/// 2030-01-01T00:00:00Z
const START: u64 = 1_893_456_000;
const DAY: u64 = 24 * 60 * 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_passes_in_a_moment_where_time_is_virtual() {
    let component = guest("slow");
    let up: Up =
        dhow(["up", "--virtual-time", "2030-01-01T00:00:00Z", component.to_str().unwrap()]).up();
    let answer = get(up.address, &format!("/clock/{}", DAY * 1_000)).await;
    assert_eq!(answer.text, format!("{START} {}\n", START + DAY));
    // It has passed for whoever comes later.
    let answer = get(up.address, "/clock/1000").await;
    assert_eq!(answer.text, format!("{} {}\n", START + DAY, START + DAY + 1));
}

#[test]
fn a_day_passes_in_a_moment_for_a_command_of_0_2() {
    let component = guest("command");
    let finished = dhow([
        "run",
        "--virtual-time",
        "2030-01-01T00:00:00Z",
        component.to_str().unwrap(),
        "sleep",
        &DAY.to_string(),
    ])
    .finish();
    assert_eq!(finished.stdout, format!("{START} {} {DAY}\n", START + DAY), "{}", finished.stderr);
}

#[test]
fn time_is_the_systems_where_nobody_says_otherwise() {
    let component = guest("command");
    let finished = dhow(["run", component.to_str().unwrap(), "sleep", "1"]).finish();
    let seconds: Vec<u64> =
        finished.stdout.split_whitespace().map(|it| it.parse().unwrap()).collect();
    let [start, end, waited] = seconds[..] else { panic!("{}", finished.stdout) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(start < end && end <= now && now - start < 600, "{start} {end} {now}");
    assert!(waited >= 1);
}

#[test]
fn what_is_no_time_is_refused() {
    let finished = dhow(["run", "--virtual-time", "tomorrow", "a.wasm"]).finish();
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("--virtual-time"), "{}", finished.stderr);
}
