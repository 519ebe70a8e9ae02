//! Dies in the middle of an upload: started by the store's tests, to see what a killed process leaves in the directory.
//! It must end without running a destructor, as a killed process does.

use seabed_engine::store::Store;
use seabed_engine::store::local::LocalStore;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let repository = std::env::args_os().nth(1).ok_or("usage: store-crash-child REPOSITORY")?;
    let store = LocalStore::open(repository)?;
    let mut upload = store.begin()?;
    upload.write(b"half an obj")?;
    std::process::exit(0);
}
