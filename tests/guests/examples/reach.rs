//! One call of the filesystem on one path, straight at the host: the attack and its control differ in the path only.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{open_raw, preopen, tell};
use wasip2::filesystem::types::{DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let path = task.input("path").expect("the test gives it").replace("\\0", "\0");
    let path = path.as_str();
    let to = task.input("to").unwrap_or("moved");
    let dir = preopen(task.input("at").unwrap_or("/work"));
    let into = preopen(task.input("into").or(task.input("at")).unwrap_or("/work"));
    let open = |how, flags| open_raw(&dir, path, how, flags);
    let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
    let reached = match task.input("how").expect("the test gives it") {
        "read" => open(OpenFlags::empty(), read).and_then(|file| file.read(4_096, 0)).map(|(bytes, _)| shown(&bytes)),
        "write" => open(OpenFlags::CREATE, write).and_then(|file| file.write(b"owned", 0)).map(|_| String::new()),
        "truncate" => open(OpenFlags::TRUNCATE, write).map(|_| String::new()),
        "truncate as a reader" => open(OpenFlags::TRUNCATE, read).map(|_| String::new()),
        "grow" => open(OpenFlags::empty(), write).and_then(|file| file.set_size(9)).map(|()| String::new()),
        "grow as a reader" => open(OpenFlags::empty(), read).and_then(|file| file.set_size(9)).map(|()| String::new()),
        "list" => open(OpenFlags::DIRECTORY, read).and_then(|dir| listed(&dir)),
        "mkdir" => dir.create_directory_at(path).map(|()| String::new()),
        "remove" => dir.unlink_file_at(path).map(|()| String::new()),
        "rmdir" => dir.remove_directory_at(path).map(|()| String::new()),
        "rename" => dir.rename_at(path, &into, to).map(|()| String::new()),
        "symlink" => dir.symlink_at(path, to).map(|()| String::new()),
        "link" => dir.link_at(PathFlags::empty(), path, &into, to).map(|()| String::new()),
        "stat" => dir.stat_at(PathFlags::SYMLINK_FOLLOW, path).map(|stat| stat.size.to_string()),
        "times" => dir
            .set_times_at(PathFlags::SYMLINK_FOLLOW, path, NewTimestamp::Now, NewTimestamp::Now)
            .map(|()| String::new()),
        "hash" => dir.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, path).map(|hash| hash.lower.to_string()),
        "std" => std::fs::read(path).map(|bytes| shown(&bytes)).map_err(|_| ErrorCode::NoEntry),
        "attach" => {
            let attached = jidoka::evidence::attach("artifact", path, "what was found");
            tell("attached", attached);
            Ok(String::new())
        }
        other => return Err(format!("no such call: {other}").into()),
    };
    tell("reached", reached);
    Ok(Report::done("reached"))
}

fn listed(dir: &wasip2::filesystem::types::Descriptor) -> std::result::Result<String, ErrorCode> {
    let entries = dir.read_directory()?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry()? {
        names.push(entry.name);
    }
    Ok(names.join(" "))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
