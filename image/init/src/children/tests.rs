use super::*;

/// Children, and somebody who waits for them as the signals' thread does.
///
/// Waiting takes every child of the process, so each test of this module runs the whole of it.
fn reaped(test: impl FnOnce(&Children)) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let children = Children::new(Log::silent());
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let children = &children;
        scope.spawn(move || {
            let moment = Duration::from_millis(5);
            while stopped.recv_timeout(moment) == Err(RecvTimeoutError::Timeout) {
                children.reap();
            }
        });
        test(children);
        drop(stop);
    });
}

fn shell(script: &str) -> Task {
    Task::new("/bin/sh", ["-c", script])
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_program_that_ends_says_how_and_what() {
    reaped(|children| {
        let said = children.run(&shell("echo out; echo err >&2; exit 3"), LONG).unwrap();
        assert_eq!(said.ended, Ended::Code(3));
        assert_eq!((said.output.as_str(), said.complaints.as_str()), ("out\n", "err\n"));
        let killed = children.run(&shell("kill -9 $$"), LONG).unwrap();
        assert_eq!(killed.ended, Ended::Killed(9));
        let failed = children.must(&shell("echo no disk >&2; false"), LONG).unwrap_err();
        assert_eq!(failed, "sh failed (exit code 1): no disk");
        assert!(
            children.run(&Task::new("/nowhere", []), LONG).unwrap_err().contains("can't be run")
        );
        assert!(children.running.lock().told.is_empty(), "nobody is waited for any more");
    });
}

#[test]
fn a_program_that_does_not_end_is_killed_with_all_that_it_started() {
    reaped(|children| {
        let limit = Duration::from_millis(200);
        let failed = children.run(&shell("sleep 60 & echo $!; wait"), limit).unwrap_err();
        assert_eq!(failed, "sh did not end within 0 s");
    });
}

#[test]
fn what_a_program_leaves_behind_does_not_keep_us() {
    reaped(|children| {
        let said = children.run(&shell("sleep 3 & echo started"), LONG).unwrap();
        assert_eq!(said.ended, Ended::Code(0));
    });
}

#[test]
fn a_long_output_has_a_limit_and_its_program_still_ends() {
    reaped(|children| {
        let said = children.run(&shell("head -c 20000000 /dev/zero"), LONG).unwrap();
        assert!(said.ended.is_success());
        assert_eq!(said.output.len() as u64, OUTPUT_BYTES_MAX);
    });
}

#[test]
fn a_program_that_runs_on_is_told_to_stop_and_its_end_is_told() {
    reaped(|children| {
        // What waits here must not wait there.
        sys::hold_signals().unwrap();
        let (end, ended) = mpsc::channel();
        let pid = children.start(&shell("exec sleep 60"), move |how| end.send(how).unwrap());
        let pid = pid.unwrap();
        children.signal(pid, Signal::TERM, To::Process);
        assert_eq!(ended.recv_timeout(LONG), Ok(Ended::Killed(15)));
        children.signal(pid, Signal::KILL, To::Group);
    });
}

#[test]
fn a_machine_that_stops_starts_nothing() {
    reaped(|children| {
        children.close();
        let why = children.run(&shell("true"), LONG).unwrap_err();
        assert_eq!(why, "sh can't be run: the machine is stopping");
    });
}

#[test]
fn lines_are_told_one_by_one_and_a_long_one_in_parts() {
    let mut told = Vec::new();
    lines(&b"one\n\ntwo\r\nlast"[..], |line| told.push(line.to_owned()));
    assert_eq!(told, ["one\n", "\n", "two\r\n", "last"]);
    let mut parts = Vec::new();
    lines(io::repeat(b'x').take(100_000), |line| parts.push(line.len()));
    assert!(parts.iter().all(|len| *len <= log::LINE_BYTES_MAX + 4096), "{parts:?}");
    assert_eq!(parts.iter().sum::<usize>(), 100_000);
}

#[test]
fn an_applet_is_called_by_its_own_name() {
    assert_eq!(Task::new("/usr/bin/busybox", ["udhcpc", "-f"]).name(), "udhcpc");
    assert_eq!(Task::new("/usr/bin/holdfast", ["supervise"]).name(), "holdfast");
}
