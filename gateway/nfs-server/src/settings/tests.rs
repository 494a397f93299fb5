use super::*;

#[test]
fn the_defaults_go_together() {
    assert_eq!(Settings::default().check(), Ok(()));
}

#[test]
fn a_budget_too_small_for_one_request_is_refused_with_the_least_that_works() {
    let mut settings =
        Settings { in_flight_bytes_per_connection_max: 1 << 20, ..Settings::default() };
    let Err(BadSettings::TooSmall { key, least, .. }) = settings.check() else {
        panic!("it was accepted");
    };
    assert_eq!(key, "in_flight_bytes_per_connection_max");
    settings.in_flight_bytes_per_connection_max = least;
    assert_eq!(settings.check(), Ok(()));
}

#[test]
fn a_server_without_an_address_is_refused() {
    let settings = Settings { listen: vec![], ..Settings::default() };
    assert_eq!(settings.check(), Err(BadSettings::NothingToListenOn));
}
