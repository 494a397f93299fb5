//! What a client can do on any disk: sittings of one or two guests with their volume mounted, over
//! one appliance or over a fleet.
//!
//! Scripts know the appliance that their guest mounts as `server`, and stop at the first command
//! that does not do what it should.

use std::path::PathBuf;
use std::time::Duration;

use tests::{Guests, run};

/// A sitting that finds, and leaves, an empty volume.
pub fn tidily(guests: &Guests, sitting: impl Fn(&Guests)) {
    sitting(guests);
    guests.first().sh("cd /mnt/nfs; find . -mindepth 1 -delete; chmod 777 .");
}

pub fn a_folder_below_an_export_mounts_too(guests: &Guests) {
    guests.first().sh("set -e; mkdir -p sub/deep; echo here >sub/deep/file
         mkdir /tmp/sub; mount -t nfs server:/demo/sub/deep /tmp/sub
         [ $(cat /tmp/sub/file) = here ]; umount /tmp/sub
         ! mount -t nfs server:/nothing /tmp/sub
         ! mount -t nfs server:/demo/sub/nothing /tmp/sub");
}

pub fn links_fifos_devices_and_sparse_files_are_what_they_should_be(guests: &Guests) {
    guests.first().sh("set -ex
         umask 022; mkdir d; echo content >d/file
         [ $(stat -c %a:%s:%h:%F d/file | tr ' ' _) = 644:8:1:regular_file ]
         [ $(stat -c %h .) = 3 ]
         ln d/file hard; [ $(stat -c %h hard) = 2 ]; [ $(stat -c %i hard) = $(stat -c %i d/file) ]
         [ hard -ef d/file ]; rm d/file; [ $(stat -c %h hard) = 1 ]; [ $(cat hard) = content ]
         ln -s d/nowhere soft; [ $(readlink soft) = d/nowhere ]; [ ! -e soft ]; [ -L soft ]
         long=$(printf x%.0s {1..1000}); ln -s $long long; [ $(readlink long) = $long ]
         mkfifo fifo; [ -p fifo ]; (echo through >fifo) & [ $(cat fifo) = through ]; wait
         mknod null c 1 3; [ -c null ]; [ $(stat -c %t:%T null) = 1:3 ]; echo gone >null
         mknod disk b 7 300; [ $(stat -c %t:%T disk) = 7:12c ]
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'; [ -S sock ]
         truncate -s 1T sparse; [ $(stat -c %s sparse) = $((1 << 40)) ]
         echo end | dd of=sparse bs=1 seek=$(((1 << 40) - 4)) conv=notrunc status=none
         [ $(stat -c %s sparse) = $((1 << 40)) ]; [ $(tail -c 4 sparse) = end ]
         [ $(du -k sparse | cut -f1) -lt 4096 ]
         [ $(find . -type f | wc -l) = 2 ]; [ $(find . -type l | wc -l) = 2 ]
         [ $(find . | wc -l) = 10 ]");
}

pub fn a_name_of_255_bytes_passes_and_one_of_256_does_not(guests: &Guests) {
    guests.first().sh("set -e
         name=$(printf n%.0s {1..255}); echo 1 >$name; [ $(ls) = $name ]
         ! (echo 1 >${name}n) 2>error; ! [ -e ${name}n ]; rm -f error $name
         touch $'bytes \\xff\\xfe\\n\\t' A a; [ $(ls -1 --zero | tr -dc '\\0' | wc -c) = 3 ]
         rm -- $'bytes \\xff\\xfe\\n\\t'; [ \"$(ls)\" = $'A\\na' ]");
}

pub fn a_file_renamed_over_or_removed_while_open_can_still_be_read(guests: &Guests) {
    guests.first().sh("set -ex
         echo old >file; echo new >other
         exec 5<file; mv other file; [ $(cat <&5) = old ]; [ $(cat file) = new ]; exec 5<&-
         echo doomed >silly; exec 6<>silly; rm silly; ! [ -e silly ]
         ls -A | grep -q '^\\.nfs'
         [ $(cat <&6) = doomed ]; echo more >&6; exec 6>&-
         for try in {1..50}; do ls -A | grep -q '^\\.nfs' || break; sleep 0.1; done
         [ \"$(ls -A)\" = file ]");
}

pub fn permissions_hold_for_users_groups_and_setgid_folders(guests: &Guests) {
    guests.first().sh("set -ex
         as() { user=$1; shift; setpriv --reuid $user --regid $user --clear-groups bash -c \"$*\"; }
         chmod 755 .; ! as tests 'echo x >denied'; [ ! -e denied ]
         mkdir -m 1777 sticky; as tests 'echo mine >sticky/file'
         [ $(stat -c %U:%G sticky/file) = tests:tests ]
         ! as other 'rm -f sticky/file'; ! as other 'mv sticky/file sticky/moved'
         as tests 'chmod 600 sticky/file'; ! as other 'cat sticky/file'
         ! as other 'chmod 666 sticky/file'; ! as tests 'chown other sticky/file'
         mkdir -m 2777 shared; chown root:tests shared; chmod 2777 shared
         as other 'mkdir shared/sub; touch shared/file'
         [ $(stat -c %G shared/file) = tests ]; [ $(stat -c %G:%a shared/sub | cut -c-7) = tests:2 ]
         cp /bin/true prog; chown tests prog; chmod 4755 prog; as other './prog'
         chmod 4777 prog; as other 'echo x >>prog'; [ $(stat -c %a prog) = 777 ]
         as tests 'exec 5>sticky/ro; chmod 400 sticky/ro; echo kept >&5'
         [ $(cat sticky/ro) = kept ]");
}

pub fn times_move_as_posix_says_and_can_be_set(guests: &Guests) {
    guests.first().sh("set -ex
         touch -d '1999-12-31 23:59:59.123456789 UTC' file
         [ $(stat -c %.9Y file) = 946684799.123456789 ]
         stamp() { stat -c \"%.9Y %.9Z\" $1; }
         was=$(stamp .); echo x >new; [ \"$(stamp .)\" != \"$was\" ]
         was=$(stamp new); echo y >>new; sync new; [ \"$(stamp new)\" != \"$was\" ]
         was=$(stat -c %.9Z new); m=$(stat -c %.9Y new); chmod 600 new
         [ $(stat -c %.9Z new) != $was ]; [ $(stat -c %.9Y new) = $m ]
         python3 - <<'P'
import os, time
assert abs(os.stat('new').st_ctime - time.time()) < 5
last = 0
for n in range(200):
    with open('moving', 'ab', buffering=0) as file:
        file.write(b'x')
        os.fsync(file.fileno())
    now = os.stat('moving').st_mtime_ns
    assert now > last, (n, now, last)
    last = now
P");
}

/// Copies the sources of crates until there are `files_min` files, and compares them all.
pub fn real_files_arrive_as_they_are(guests: &Guests, files_min: u64) {
    let sources = sources_of_crates();
    let guest = guests.first();
    let script = format!(
        "set -e
         cd {sources}; count=0; : >/tmp/crates
         for crate in */*; do
           [ $count -lt {files_min} ] || break
           echo $crate >>/tmp/crates; count=$((count + $(find $crate -type f | wc -l)))
         done
         cd /mnt/nfs
         round=0; files=0
         while [ $files -lt {files_min} ]; do
           mkdir copy.$round; (cd {sources}; cp -a --parents $(cat /tmp/crates) $OLDPWD/copy.$round)
           files=$((files + $(find copy.$round -type f | wc -l))); round=$((round + 1))
         done
         echo $files files in $round copies
         echo 3 >/proc/sys/vm/drop_caches
         for n in $(seq 0 $((round - 1))); do
           while read crate; do
             diff -r --no-dereference {sources}/$crate copy.$n/$crate
           done </tmp/crates
         done
         rm -rf copy.*; [ -z \"$(ls -A)\" ]"
    );
    println!("{}", guest.sh_within(Duration::from_secs(900), &script));
}

pub fn a_c_program_is_unpacked_and_built_and_runs_on_the_mount(guests: &Guests) {
    let tree = guests.shared().join("project");
    std::fs::create_dir_all(tree.join("src")).unwrap();
    let mut calls = String::new();
    for n in 0..24 {
        let body = format!("#include \"all.h\"\nint part{n}(int x) {{ return x + {n}; }}\n");
        std::fs::write(tree.join(format!("src/part{n}.c")), body).unwrap();
        calls += &format!("  sum += part{n}(0);\n");
    }
    let header: String = (0..24).map(|n| format!("int part{n}(int x);\n")).collect();
    std::fs::write(tree.join("src/all.h"), header).unwrap();
    let main = format!(
        "#include <stdio.h>\n#include \"all.h\"\nint main(void) {{\n  int sum = 0;\n{calls}  \
         printf(\"%d\\n\", sum);\n  return 0;\n}}\n"
    );
    std::fs::write(tree.join("src/main.c"), main).unwrap();
    std::fs::write(tree.join("Makefile"), C_MAKEFILE).unwrap();
    run(
        "tar",
        &[
            "-C".as_ref(),
            guests.shared().as_os_str(),
            "-czf".as_ref(),
            guests.shared().join("project.tar.gz").as_os_str(),
            "project".as_ref(),
        ],
    );
    guests.first().sh("set -ex; tar xzf $JOB/project.tar.gz; cd project
         make -j2 >/dev/null; [ $(./program) = 276 ]
         make | grep -q 'up to date\\|Nothing to be done'
         sleep 0.01; touch src/part3.c; make | grep -c gcc | grep -qx 2
         ./program; make clean; ! [ -e program ]");
}

pub fn a_rust_crate_builds_offline_on_the_mount(guests: &Guests) {
    let sysroot = run("rustc", &["--print", "sysroot"]);
    let script = format!(
        "set -ex; export PATH={}/bin:$PATH CARGO_HOME=/tmp/cargo
         export CARGO_INCREMENTAL=0 # which needs file locks
         mkdir -p tiny/src; cd tiny
         printf '[package]\\nname = \"tiny\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n' >Cargo.toml
         printf 'fn main() {{ println!(\"{{}}\", tiny::answer()); }}\\n' >src/main.rs
         printf 'pub fn answer() -> u32 {{ 42 }}\\n' >src/lib.rs
         cargo build --offline --quiet
         [ $(target/debug/tiny) = 42 ]",
        sysroot.trim()
    );
    guests.first().sh_within(Duration::from_secs(300), &script);
}

pub fn git_works_on_the_mount(guests: &Guests) {
    guests.first().sh("set -ex; export GIT_CONFIG_GLOBAL=/tmp/gitconfig
         git config --global user.name t; git config --global user.email t@example.org
         git config --global init.defaultBranch main
         mkdir repo; cd repo; git init -q
         for n in $(seq 200); do mkdir -p d$((n % 7)); seq $n >d$((n % 7))/f$n; done
         git add .; git commit -qm first
         for n in $(seq 1 20); do echo more >>d$((n % 7))/f$n; git commit -qam \"change $n\"; done
         git gc -q; git fsck --strict; [ $(git log --oneline | wc -l) = 21 ]
         git status --porcelain | wc -l | grep -qx 0
         cd ..; git clone -q repo clone; diff -r --exclude .git repo clone; cd clone; git fsck
         git checkout -qb side; git mv d1 moved; git commit -qam moved; git checkout -q main
         git merge -q side; git push -q origin side");
}

pub fn rsync_and_archives_with_attributes_round_trip(guests: &Guests) {
    guests.first().sh("set -ex
         mkdir -p /tmp/tree/a/b; cd /tmp/tree; seq 10000 >a/one; ln a/one a/b/two; ln -s two a/b/s
         mkfifo a/pipe; chmod 4711 a/one; touch -d 2001-02-03 a/b; cd /mnt/nfs
         rsync -aH /tmp/tree/ copy/; [ -z \"$(rsync -aHnic --delete /tmp/tree/ copy/)\" ]
         [ $(stat -c %i copy/a/one) = $(stat -c %i copy/a/b/two) ]
         tar -C copy --format=pax -cf all.tar .; mkdir back; tar -C back -xpf all.tar
         [ -z \"$(rsync -aHnic --delete /tmp/tree/ back/)\" ]");
}

pub fn two_clients_see_each_others_changes_when_they_open(guests: &Guests) {
    // What was written before the other opens the file is read at once (close-to-open).
    guests.all(
        "set -ex
         other=$((1 - GUEST)); mkdir of.$GUEST
         for round in $(seq 20); do
           echo round $round of $GUEST >of.$GUEST/file; cp of.$GUEST/file of.$GUEST/again
           barrier wrote.$round
           [ \"$(cat of.$other/file)\" = \"round $round of $other\" ]
           barrier read.$round
         done",
    );
    // That a name leads to another file may be known later: clients cache directories for up to a
    // minute, and Linux 6.1 was seen not to ask although its ACCESS had shown a new mtime.
    guests.all(
        "set -e
         other=$((1 - GUEST))
         for round in $(seq 5); do
           echo new $round of $GUEST >of.$GUEST/part; mv of.$GUEST/part of.$GUEST/named
           barrier moved.$round
           for second in $(seq 70); do
             found=$(cat of.$other/named); [ \"$found\" = \"new $round of $other\" ] && break
             echo after $second seconds: $found; sleep 1
           done
           [ \"$found\" = \"new $round of $other\" ]
           barrier looked.$round
         done",
    );
    let (first, second) = (guests.first(), guests.second());
    first.sh("seq 100000 >big; mkdir -p many; cd many; touch $(seq 500)");
    second.sh("[ $(sha1sum <big | cut -c-40) = $(seq 100000 | sha1sum | cut -c-40) ]");
    second.sh("[ $(ls many | wc -l) = 500 ]; rm many/7; truncate -s 10 big");
    first.sh("sleep 3; ls many | wc -l | grep -qx 499; [ $(cat big | wc -c) = 10 ]");
}

/// The sources of the crates that this project is built from: thousands of real files.
fn sources_of_crates() -> String {
    let home = std::env::var("CARGO_HOME").map_or_else(
        |_| PathBuf::from(std::env::var("HOME").expect("a home")).join(".cargo"),
        PathBuf::from,
    );
    let path = home.join("registry/src");
    assert!(path.exists(), "{} holds what cargo has fetched", path.display());
    path.to_string_lossy().into_owned()
}

const C_MAKEFILE: &str = "\
OBJECTS := $(patsubst src/%.c,%.o,$(wildcard src/*.c))
program: $(OBJECTS)
\tgcc -o $@ $^
%.o: src/%.c src/all.h
\tgcc -c -o $@ $<
clean:
\trm -f program *.o
";
