use std::{fs, num::NonZero, thread::available_parallelism};

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
        hostname: system.nodename().to_string_lossy().into_owned(),
        ..Environment::default()
    }
}

/// The value of `key` in lines of `key SEPARATOR value`, without quotes.
fn value(text: &str, key: &str, separator: char) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let (_, value) = pairs.find(|(name, _)| name.trim() == key)?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::value;

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
