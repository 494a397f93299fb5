use super::*;

fn put(sys: &Path, path: &str, bytes: &[u8]) {
    let path = sys.join("block").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn found(sys: &Path) -> Vec<Disk> {
    disks(sys, Path::new("/dev"))
}

#[test]
fn disks_are_told_with_size_serial_and_partitions() {
    let sys = tempfile::tempdir().unwrap();
    let sys = sys.path();
    put(sys, "vda/size", b"2048\n");
    put(sys, "vda/serial", b"ada-1\n");
    for part in ["vda10", "vda2", "vda1"] {
        put(sys, &format!("vda/{part}/partition"), b"1\n");
    }
    put(sys, "vda/queue/rotational", b"1\n");
    put(sys, "nvme0n1/size", b"4096\n");
    put(sys, "nvme0n1/device/serial", b"  S3X   \n");
    put(sys, "sda/size", b"8\n");
    put(sys, "sda/device/vpd_pg80", b"\0\x80\0\x08  WD-99  ");
    let disks = found(sys);
    let by_name: Vec<_> = disks.iter().map(|d| (d.path.as_str(), d.size_bytes)).collect();
    assert_eq!(by_name, [("/dev/sda", 4096), ("/dev/vda", 1 << 20), ("/dev/nvme0n1", 2 << 20)]);
    let serials: Vec<_> = disks.iter().map(|d| d.serial.as_deref()).collect();
    assert_eq!(serials, [Some("WD-99"), Some("ada-1"), Some("S3X")]);
    assert_eq!(disks[1].partitions, ["/dev/vda1", "/dev/vda2", "/dev/vda10"]);
    assert!(disks.iter().all(|disk| disk.unfit.is_none()));
}

#[test]
fn what_is_no_disk_is_not_seen_and_what_can_not_hold_data_says_why() {
    let sys = tempfile::tempdir().unwrap();
    let sys = sys.path();
    for name in ["loop0", "ram1", "zram0", "dm-0", "md127", "fd0", "nbd3"] {
        put(sys, &format!("{name}/size"), b"2048");
    }
    put(sys, "sr0/size", b"2048");
    put(sys, "sdb/size", b"0");
    put(sys, "sdc/size", b"2048");
    put(sys, "sdc/ro", b"1\n");
    put(sys, "nvme0c0n1/size", b"2048");
    put(sys, "nvme0c0n1/hidden", b"1");
    put(sys, "cciss!c0d0/size", b"garbage");
    let told: Vec<_> = found(sys).into_iter().map(|d| (d.path, d.unfit.unwrap())).collect();
    let told: Vec<_> = told.iter().map(|(path, why)| (path.as_str(), *why)).collect();
    assert_eq!(
        told,
        [
            ("/dev/sdb", "it has no medium"),
            ("/dev/sdc", "it is read-only"),
            ("/dev/sr0", "it is an optical drive"),
            ("/dev/nvme0c0n1", "it is a path of another"),
            ("/dev/cciss/c0d0", "it has no medium"),
        ]
    );
    assert!(found(Path::new("/nowhere")).is_empty());
}
