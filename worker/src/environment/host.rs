use std::{fs, num::NonZero, path::Path, thread::available_parallelism};

use windlass_proto::common::v1::Environment;

/// Facts of this machine; without any of an interpreter.
pub(super) fn describe() -> Environment {
    let system = rustix::system::uname();
    let kernel =
        format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy());
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = match value(&release, "PRETTY_NAME", '=') {
        Some(name) => format!("{name}, {kernel}"),
        None => kernel,
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = available_parallelism().map_or(0, NonZero::get);
    Environment {
        os,
        machine: system.machine().to_string_lossy().into_owned(),
        cpu: value(&cpu, "model name", ':').unwrap_or_default(),
        cpu_count: u32::try_from(cores).unwrap_or(u32::MAX),
        gpu_driver: gpu_driver(Path::new("/proc/driver/nvidia/version")).unwrap_or_default(),
        hostname: system.nodename().to_string_lossy().into_owned(),
        ..Environment::default()
    }
}

/// `NVIDIA 535.104.05`, from the line that the driver's kernel module tells of itself.
fn gpu_driver(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let (_, line) = text.lines().find_map(|line| line.split_once("NVRM version:"))?;
    let version = line.split_whitespace().find(is_version)?;
    Some(format!("NVIDIA {version}"))
}

/// The value of `key` in lines of `key SEPARATOR value`, without quotes.
fn value(text: &str, key: &str, separator: char) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let (_, value) = pairs.find(|(name, _)| name.trim() == key)?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{gpu_driver, value};

    #[test]
    fn the_driver_of_a_gpu() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("version");
        assert_eq!(gpu_driver(&file), None);
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n\
                    GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n";
        std::fs::write(&file, text).unwrap();
        assert_eq!(gpu_driver(&file).unwrap(), "NVIDIA 535.104.05");
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\n";
        std::fs::write(&file, open).unwrap();
        assert_eq!(gpu_driver(&file).unwrap(), "NVIDIA 550.54.14");
    }

    #[test]
    fn values_in_the_systems_files() {
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n";
        assert_eq!(value(release, "PRETTY_NAME", '=').unwrap(), "Debian GNU/Linux 12");
        assert_eq!(value("model name\t: A: B\n", "model name", ':').unwrap(), "A: B");
        assert_eq!(value("", "ID", '='), None);
    }

    #[test]
    fn this_machine_has_a_name_and_cores() {
        let host = super::describe();
        assert!(host.cpu_count > 0 && !host.machine.is_empty() && host.os.contains("Linux"));
    }
}
