//! The data folder, and the disk below it.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};

use super::Finding;

const MIB: u64 = 1 << 20;

/// With less than this much free, writes are about to fail.
const TOO_LITTLE: u64 = 64 * MIB;

/// With less than this much free, it is time to look after it.
const LITTLE: u64 = 1024 * MIB;

pub(super) fn look(folder: &Path) -> Vec<Finding> {
    let ground = ground(folder);
    let mut findings = vec![the_folder(folder, &ground)];
    if folder.is_dir() {
        findings.push(files(folder));
    }
    findings.push(free_space(&ground));
    findings.extend(file_system(&ground));
    findings
}

fn the_folder(folder: &Path, ground: &Path) -> Finding {
    let subject = "data folder";
    let shown = folder.display();
    match fs::metadata(folder) {
        Ok(found) if !found.is_dir() => {
            Finding::fail(subject, format!("{shown} is not a folder"), "set data_dir to another path")
        }
        Ok(found) => match private(&found, folder) {
            Some(advice) => Finding::fail(subject, format!("{shown} is open to other users"), advice),
            None if found.uid() != ourselves() => foreign(subject, folder, &found),
            None => Finding::ok(subject, format!("{shown}, for its owner alone")),
        },
        Err(why) if why.kind() != io::ErrorKind::NotFound => {
            Finding::fail(subject, format!("{shown}: {why}"), "check the permissions of the folders above it")
        }
        Err(_) if access(ground, Access::WRITE_OK).is_ok() => {
            Finding::ok(subject, format!("{shown} is not there yet; the first start creates it"))
        }
        Err(_) => Finding::fail(
            subject,
            format!("{shown} is not there, and cannot be created in {}", ground.display()),
            "create it for the user who runs the server, or set data_dir",
        ),
    }
}

fn files(folder: &Path) -> Finding {
    let subject = "files";
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(why) => {
            let text = format!("{} cannot be read: {why}", folder.display());
            return Finding::fail(subject, text, "run this as the user who runs the server");
        }
    };
    let found: Vec<_> =
        entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).collect();
    for (path, file) in &found {
        if file.is_file()
            && let Some(advice) = private(file, path)
        {
            return Finding::fail(subject, format!("{} is open to other users", path.display()), advice);
        }
        if file.uid() != ourselves() {
            return foreign(subject, path, file);
        }
    }
    Finding::ok(subject, format!("{} in the folder, for their owner alone", found.len()))
}

/// What to do if others than the owner get there.
fn private(found: &Metadata, path: &Path) -> Option<String> {
    let mode = if found.is_dir() { "700" } else { "600" };
    (found.mode() & 0o077 != 0).then(|| format!("chmod {mode} {}", path.display()))
}

fn foreign(subject: &'static str, path: &Path, found: &Metadata) -> Finding {
    Finding::warn(
        subject,
        format!("{} belongs to user {}, and this is user {}", path.display(), found.uid(), ourselves()),
        "run this as the user who runs the server",
    )
}

fn ourselves() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn free_space(ground: &Path) -> Finding {
    let subject = "disk";
    let free = match statvfs(ground) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(why) => return Finding::warn(subject, format!("cannot tell: {why}"), "look with `df`"),
    };
    let text = format!("{} MiB free", free / MIB);
    match free {
        0..TOO_LITTLE => {
            Finding::fail(subject, text, "free some space: without it nobody can sign in or out")
        }
        TOO_LITTLE..LITTLE => Finding::warn(subject, text, "free some space soon"),
        _ => Finding::ok(subject, text),
    }
}

/// Says whether what is written there stays. Elsewhere than on Linux this cannot be told.
#[cfg(target_os = "linux")]
fn file_system(ground: &Path) -> Option<Finding> {
    let kind = rustix::fs::statfs(ground).ok()?.f_type;
    // From linux/magic.h.
    let (name, trouble) = match kind & 0xffff_ffff {
        0x0102_1994 | 0x8584_58f6 => ("memory (tmpfs)", "everything is gone after a restart of the machine"),
        0x794c_7630 => ("a container's own layer", "everything is gone with the container"),
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 => {
            ("a network file system", "SQLite's locks and syncs cannot be relied on there")
        }
        _ => return Some(Finding::ok("durability", "a local file system; every commit is synced to it")),
    };
    Some(Finding::warn(
        "durability",
        format!("the data folder is on {name}: {trouble}"),
        "put data_dir on a local disk or a volume",
    ))
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> Option<Finding> {
    None
}

/// The nearest folder above that is there.
fn ground(folder: &Path) -> PathBuf {
    let above = folder.ancestors().find(|path| path.is_dir());
    above.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::State;

    fn open_to(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_can_read_is_told_with_the_command_that_closes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        open_to(path, 0o700);
        assert_eq!(the_folder(path, path).state, State::Ok);
        open_to(path, 0o750);
        let found = the_folder(path, path);
        assert_eq!((found.state, found.advice), (State::Fail, Some(format!("chmod 700 {}", path.display()))));

        let file = path.join("kerria.db");
        fs::write(&file, "").unwrap();
        open_to(&file, 0o600);
        assert_eq!(files(path).state, State::Ok);
        open_to(&file, 0o644);
        assert_eq!(files(path).advice, Some(format!("chmod 600 {}", file.display())));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_fine_if_it_can_be_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(ground(&path), folder.path());
        assert_eq!(the_folder(&path, folder.path()).state, State::Ok);
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(the_folder(&folder.path().join("file"), folder.path()).state, State::Fail);
    }
}
