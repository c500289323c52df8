//! The two Vulkan drivers that run on any CPU: lavapipe (Mesa) and SwiftShader (Chromium).
//!
//! A driver is found by its ICD manifest, a small JSON file that names the library. Folders and file names differ
//! between distributions and architectures, so both are searched for.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{ask, program, scratch};

/// A Vulkan driver that needs no GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Mesa's driver: f16, subgroups of 8.
    Lavapipe,
    /// The driver inside Chromium: no f16, subgroups of 4.
    SwiftShader,
}

impl Driver {
    pub(crate) const ALL: [Self; 2] = [Self::Lavapipe, Self::SwiftShader];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lavapipe => "lavapipe",
            Self::SwiftShader => "SwiftShader",
        }
    }

    /// The environment variable that names the ICD manifest outright.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Lavapipe => "QWENC_LAVAPIPE_ICD",
            Self::SwiftShader => "QWENC_SWIFTSHADER_ICD",
        }
    }

    /// The ICD manifest that [`Self::variable`] names, whether there is such a file or not.
    pub(crate) fn named(self) -> Option<PathBuf> {
        std::env::var_os(self.variable()).map(PathBuf::from)
    }

    /// The ICD manifest of this driver, if it is installed.
    pub(crate) fn find(self) -> Option<PathBuf> {
        if let Some(named) = self.named() {
            return named.is_file().then_some(named);
        }
        match self {
            Self::Lavapipe => {
                vulkan_folders().iter().find_map(|folder| lavapipe_in(folder, std::env::consts::ARCH))
            }
            Self::SwiftShader => browser_folders().iter().find_map(|folder| swiftshader_in(folder)),
        }
    }
}

/// Whether the Vulkan loader, which finds the drivers, is installed.
pub(crate) fn loader_is_installed() -> bool {
    let known = ["/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"]
        .iter()
        .find_map(|ldconfig| ask(program(ldconfig).arg("-p")));
    known.is_some_and(|libraries| libraries.contains("libvulkan.so.1"))
}

/// Shows exactly these drivers, in this order, to the Vulkan programs that the command starts.
///
/// Older loaders know only the second variable; newer ones prefer the first.
pub(crate) fn expose<'a>(command: &'a mut Command, manifests: &[PathBuf]) -> &'a mut Command {
    let list = std::env::join_paths(manifests).unwrap_or_default();
    command.env("VK_DRIVER_FILES", &list).env("VK_ICD_FILENAMES", &list);
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Without it Mesa's window-system code, which nothing here uses, complains once for every instance.
        let folder = scratch("runtime");
        if std::fs::create_dir_all(&folder).is_ok() {
            command.env("XDG_RUNTIME_DIR", folder);
        }
    }
    command
}

/// Where Vulkan's loader looks for manifests of installed drivers.
fn vulkan_folders() -> Vec<PathBuf> {
    let data = std::env::var_os("XDG_DATA_DIRS").filter(|dirs| !dirs.is_empty());
    let data = data.unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    let home = std::env::home_dir().map(|home| home.join(".local/share"));
    std::env::split_paths(&data)
        .chain(["/usr/share", "/usr/local/share", "/etc"].map(PathBuf::from))
        .chain(home)
        .map(|folder| folder.join("vulkan/icd.d"))
        .collect()
}

/// Where Chromium and its relatives keep SwiftShader.
fn browser_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = [
        "/opt/google/chrome",
        "/opt/chromium.org/chromium",
        "/snap/chromium/current/usr/lib/chromium-browser",
    ]
    .map(PathBuf::from)
    .to_vec();
    for parent in ["/usr/lib", "/usr/lib64"] {
        folders.extend(subfolders(Path::new(parent)).filter(|folder| name_starts_with(folder, "chromium")));
    }
    if let Some(home) = std::env::home_dir() {
        let browsers = home.join(".cache/ms-playwright");
        folders.extend(subfolders(&browsers).flat_map(|browser| subfolders(&browser).collect::<Vec<_>>()));
    }
    folders
}

/// Lavapipe's manifest in a folder: the one for this architecture, else one that names none
/// (`lvp_icd.x86_64.json` and `lvp_icd.json` are both in use).
fn lavapipe_in(folder: &Path, architecture: &str) -> Option<PathBuf> {
    [format!("lvp_icd.{architecture}.json"), "lvp_icd.json".to_owned()]
        .iter()
        .map(|name| folder.join(name))
        .find(|manifest| manifest.is_file())
}

fn swiftshader_in(folder: &Path) -> Option<PathBuf> {
    let manifest = folder.join("vk_swiftshader_icd.json");
    manifest.is_file().then_some(manifest)
}

/// Folders right below this one, sorted; none if it cannot be read.
fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found.into_iter()
}

fn name_starts_with(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{lavapipe_in, subfolders, swiftshader_in};
    use crate::process::fresh_scratch;

    #[test]
    fn lavapipe_prefers_this_architecture_and_never_takes_another() {
        let folder = fresh_scratch("test-lavapipe").unwrap();
        fs::write(folder.join("lvp_icd.i686.json"), "{}").unwrap();
        fs::write(folder.join("intel_icd.x86_64.json"), "{}").unwrap();
        assert_eq!(lavapipe_in(&folder, "x86_64"), None);
        fs::write(folder.join("lvp_icd.json"), "{}").unwrap();
        assert_eq!(lavapipe_in(&folder, "x86_64"), Some(folder.join("lvp_icd.json")));
        fs::write(folder.join("lvp_icd.x86_64.json"), "{}").unwrap();
        assert_eq!(lavapipe_in(&folder, "x86_64"), Some(folder.join("lvp_icd.x86_64.json")));
    }

    #[test]
    fn swiftshader_is_a_file_in_the_browsers_folder() {
        let folder = fresh_scratch("test-swiftshader").unwrap();
        assert_eq!(swiftshader_in(&folder), None);
        fs::create_dir(folder.join("vk_swiftshader_icd.json")).unwrap();
        assert_eq!(swiftshader_in(&folder), None);
        let browser = folder.join("chromium");
        fs::create_dir(&browser).unwrap();
        fs::write(browser.join("vk_swiftshader_icd.json"), "{}").unwrap();
        assert!(subfolders(&folder).any(|folder| swiftshader_in(&folder).is_some()));
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing() {
        assert_eq!(subfolders(std::path::Path::new("/nonexistent")).count(), 0);
    }
}
