//! The folder of the homes. It may be on storage of others, and not be mounted: a file in it tells that
//! it is the one, and nothing is made where that file is missing.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    linux::{self, Error, Linux},
    node::{Node, Problem},
};

/// The file that marks storage; it holds the installation's id.
pub const MARKER: &str = ".qvd-storage";
/// How long a look at the folder may hold up the start of the daemon.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// Makes sure that the folder is the storage of the homes. `used`: there must be homes in it, or its
/// mark, because they were made before. One that was never used is marked.
pub fn ready(linux: &dyn Linux, homes: &Path, installation: &str, used: bool) -> linux::Result<()> {
    let marker = homes.join(MARKER);
    if let Some(found) = linux.read(&marker)? {
        let found = String::from_utf8_lossy(&found).trim().to_owned();
        let path = homes.display().to_string();
        return if found == installation { Ok(()) } else { Err(Error::Foreign { path, found }) };
    }
    // Homes that were made before there was a mark are as good as one.
    let lived_in = match linux.names(homes) {
        Err(error) if error.is_missing() => false,
        names => names?.iter().any(|name| is_home(name)),
    };
    if used && !lived_in {
        return Err(Error::NotMounted { path: homes.display().to_string(), marker: MARKER });
    }
    // One that is there, such as a mount whose server takes root for nobody, is left as it is.
    linux.make_folder(homes, 0o700)?;
    linux.write(&marker, installation.as_bytes())
}

fn is_home(name: &str) -> bool {
    name.strip_suffix("-fs").is_some_and(|vm| vm.parse::<i64>().is_ok())
}

/// Looks at the folder when the daemon starts, for as long as that may take. What is wrong is noted, and
/// keeps no VM without a home from its start. `used`: VMs were started before.
pub async fn look(node: &Arc<Node>, used: bool) {
    let (mine, looking) = (Arc::clone(node), Arc::clone(node));
    let ready =
        move || ready(looking.linux.as_ref(), &looking.layout.homefs, &looking.installation, used);
    let looked = tokio::time::timeout(LOOK_WITHIN, tokio::task::spawn_blocking(ready)).await;
    let wrong = match looked {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error.to_string()),
        Ok(Err(panicked)) => Some(panicked.to_string()),
        Err(_) => Some(format!("the storage {} does not answer", mine.layout.homefs.display())),
    };
    if used || wrong.is_none() {
        mine.homes_are_used();
    }
    mine.set_problem(Problem::Homes, wrong);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::linux::fake::{Fake, Machine};

    /// Nothing is made in a folder of homes that is not mounted; once it is there, or one that was lived
    /// in before it was marked, it is used; another installation's is refused.
    #[test]
    fn homes_are_made_where_homes_are() {
        let place = tempfile::tempdir().unwrap();
        let homes = place.path().join("homefs");
        let fake = Fake::new(Arc::new(Machine::default()), None);
        let ready = |installation, used| ready(&fake, &homes, installation, used);
        ready("one", false).unwrap();
        ready("one", true).unwrap();
        assert_eq!(fs::read_to_string(homes.join(MARKER)).unwrap(), "one");
        let foreign = ready("two", true).unwrap_err().to_string();
        assert!(foreign.ends_with("belongs to the installation one"), "{foreign}");

        // Not mounted: the mount point is there, and is empty.
        fs::remove_file(homes.join(MARKER)).unwrap();
        for folder in [true, false] {
            if !folder {
                fs::remove_dir(&homes).unwrap();
            }
            let missing = ready("one", true).unwrap_err();
            assert!(matches!(missing, Error::NotMounted { .. }), "{missing}");
            assert_eq!(homes.exists(), folder, "nothing is made");
        }
        fs::create_dir_all(homes.join("7-fs")).unwrap();
        ready("one", true).unwrap();
        assert_eq!(fs::read_to_string(homes.join(MARKER)).unwrap(), "one");
    }
}
