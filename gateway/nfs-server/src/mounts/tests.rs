use super::*;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[test]
fn a_mount_is_listed_once_until_it_is_unmounted() {
    let mounts = Mounts::default();
    mounts.mounted(ip(1), b"/demo");
    mounts.mounted(ip(1), b"/demo");
    mounts.mounted(ip(2), b"/demo");
    assert_eq!(mounts.entries().len(), 2);
    mounts.unmounted(ip(1), b"/demo");
    assert_eq!(mounts.entries().len(), 1);
    mounts.unmounted_all(ip(2));
    assert!(mounts.entries().is_empty());
}

#[test]
fn the_oldest_mount_makes_room_for_a_new_one() {
    let mounts = Mounts::default();
    for number in 0..=MOUNTS_MAX {
        mounts.mounted(ip(1), number.to_string().as_bytes());
    }
    let entries = mounts.entries();
    assert_eq!(entries.len(), MOUNTS_MAX);
    assert_eq!(&*entries[0].directory, b"1");
}
