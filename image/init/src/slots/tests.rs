use super::*;

fn slots(names: &[&str]) -> Vec<Slot> {
    names.iter().map(|name| Slot::parse(name).unwrap()).collect()
}

fn slot(name: &str) -> Slot {
    Slot::parse(name).unwrap()
}

#[test]
fn a_name_is_taken_only_if_it_is_given_back_exactly() {
    for name in [
        "holdfast-00000001.efi",
        "holdfast-00000012+1.efi",
        "holdfast-00000012+1-0.efi",
        "holdfast-00000012+0-1.efi",
        "holdfast-99999999+3-14.efi",
    ] {
        assert_eq!(slot(name).file_name(), name);
    }
    for stranger in [
        "",
        "holdfast-.efi",
        "holdfast-1.efi",
        "holdfast-000000001.efi",
        "holdfast-100000000.efi",
        "holdfast-0000000a.efi",
        "holdfast-+0000001.efi",
        "holdfast-00000001+.efi",
        "holdfast-00000001+01.efi",
        "holdfast-00000001+1-.efi",
        "holdfast-00000001++1.efi",
        "holdfast-00000001+4294967296.efi",
        "holdfast-00000001.EFI",
        "HOLDFAST-00000001.efi",
        "holdfast-00000001.efi.new",
        "linux.efi",
        "holdfast-ééé.efi",
    ] {
        assert_eq!(Slot::parse(stranger), None, "{stranger}");
    }
}

#[test]
fn a_counter_says_how_often_and_a_kept_file_has_none() {
    assert_eq!(slot("holdfast-00000007.efi"), Slot { number: 7, tries: None });
    let tries = Some(Tries { left: 1, done: None });
    assert_eq!(slot("holdfast-00000007+1.efi"), Slot { number: 7, tries });
    assert_eq!(Slot::untried(7).file_name(), "holdfast-00000007+1.efi");
    assert_eq!(slot("holdfast-00000007+0-1.efi").kept().file_name(), "holdfast-00000007.efi");
    assert!(slot("holdfast-00000007+0-1.efi").is_used_up());
    assert!(!slot("holdfast-00000007+1-0.efi").is_used_up());
    assert!(!slot("holdfast-00000007.efi").is_used_up());
}

#[test]
fn the_next_number_is_above_all_others_until_there_is_none() {
    assert_eq!(next_number(&[]), Some(1));
    let two = slots(&["holdfast-00000009.efi", "holdfast-00000004+0-1.efi"]);
    assert_eq!(next_number(&two), Some(10));
    assert_eq!(next_number(&slots(&["holdfast-99999999.efi"])), None);
}

#[test]
fn the_booted_file_is_found_though_its_counter_went_on_and_its_case_is_lost() {
    let found = slots(&["holdfast-00000003.efi", "holdfast-00000004+0-1.efi"]);
    for entry in [
        "holdfast-00000004+1.efi",
        "holdfast-00000004+1-0.efi",
        "HOLDFAST-00000004.EFI",
        "holdfast-00000004",
        "holdfast-00000004.efi@main",
    ] {
        assert_eq!(booted(&found, entry), Some(found[1]), "{entry}");
    }
    assert_eq!(booted(&found, "holdfast-00000003.efi"), Some(found[0]));
    for stranger in ["", "holdfast-", "holdfast-00000005.efi", "holdfast-000000041", "auto-efi"] {
        assert_eq!(booted(&found, stranger), None, "{stranger}");
    }
    assert_eq!(booted(&found, "holdfast-0000000é"), None, "no character is cut");
}

#[test]
fn of_two_files_with_one_number_the_entry_says_which_booted() {
    let twice = slots(&["holdfast-00000004.efi", "holdfast-00000004+0-1.efi"]);
    assert_eq!(booted(&twice, "holdfast-00000004.efi"), Some(twice[0]));
    assert_eq!(booted(&twice, "holdfast-00000004+1.efi"), Some(twice[1]));
}

#[test]
fn what_runs_and_the_newest_other_stay() {
    let all = slots(&[
        "holdfast-00000001.efi",
        "holdfast-00000002.efi",
        "holdfast-00000003.efi",
        "holdfast-00000004.efi",
    ]);
    assert_eq!(to_remove(&all, Some(all[3])), all[..2]);
    assert_eq!(to_remove(&all, Some(all[0])), all[1..3], "what runs stays, however old");
    assert_eq!(to_remove(&all, None), all[..3], "nobody knows what runs");
    assert_eq!(to_remove(&all[3..], Some(all[3])), []);
}

#[test]
fn an_update_that_failed_goes_before_what_could_still_be_booted() {
    let all =
        slots(&["holdfast-00000004.efi", "holdfast-00000005.efi", "holdfast-00000006+0-1.efi"]);
    assert_eq!(to_remove(&all, Some(all[1])), [all[2]]);
    // But not while it is what runs, and has not proved itself yet.
    assert_eq!(to_remove(&all, Some(all[2])), [all[0]]);
}

#[test]
fn a_rollback_goes_to_what_was_well_and_not_to_what_nobody_tried() {
    let all = slots(&[
        "holdfast-00000004.efi",
        "holdfast-00000005.efi",
        "holdfast-00000006+1.efi",
        "holdfast-00000007+0-1.efi",
    ]);
    assert_eq!(previous(&all, Some(all[1])), Some(all[0]));
    assert_eq!(previous(&all, Some(all[0])), Some(all[1]), "back and forth");
    assert_eq!(previous(&all[1..], Some(all[1])), None);
    assert_eq!(fallback(&all, all[3]), Some(all[2]));
    assert_eq!(fallback(&all[3..], all[3]), None);
}

#[test]
fn an_entry_is_read_from_its_variable_and_nothing_else_is() {
    let variable = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect()
    };
    let name = "holdfast-00000004+1.efi";
    assert_eq!(entry(&variable(name)).as_deref(), Some(name));
    for bad in [&[][..], &[6, 0, 0], &[6, 0, 0, 0], &[6, 0, 0, 0, 0x41], &[6, 0, 0, 0, 0, 0xd8]] {
        assert_eq!(entry(bad), None, "{bad:?}");
    }
}
