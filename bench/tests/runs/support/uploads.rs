//! Uploads in parts, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Unfinished uploads by id: the key, and the parts by number.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<BTreeMap<String, Upload>>);

struct Upload {
    key: String,
    parts: BTreeMap<u32, Vec<u8>>,
}

impl Uploads {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn begin(&self, key: &str) -> Arc<Vec<u8>> {
        let mut uploads = self.0.lock().unwrap();
        // One upload for each key is enough here.
        let id = format!("id/{key}+");
        let key = key.to_owned();
        uploads.insert(
            id.clone(),
            Upload {
                key,
                parts: BTreeMap::new(),
            },
        );
        Arc::new(format!("<R><UploadId>{id}</UploadId></R>").into_bytes())
    }

    pub(crate) fn put(&self, id: &str, number: u32, body: Vec<u8>) {
        let id = id.replace("%2B", "+");
        let mut uploads = self.0.lock().unwrap();
        uploads.get_mut(&id).unwrap().parts.insert(number, body);
    }

    /// The parts that the list names, in its order.
    pub(crate) fn complete(&self, id: &str, list: &str) -> Vec<u8> {
        let id = id.replace("%2B", "+");
        let upload = self.0.lock().unwrap().remove(&id).unwrap();
        let numbers = list.split("<PartNumber>").skip(1);
        let numbers = numbers.map(|rest| rest.split_once('<').unwrap().0.parse::<u32>().unwrap());
        numbers.flat_map(|number| upload.parts[&number].clone()).collect()
    }

    pub(crate) fn abort(&self, id: &str) {
        let id = id.replace("%2B", "+");
        self.0.lock().unwrap().remove(&id);
    }

    pub(crate) fn list(&self, prefix: &str) -> Arc<Vec<u8>> {
        let uploads = self.0.lock().unwrap();
        let uploads = uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
        let uploads: String = uploads
            .map(|(id, upload)| {
                let key = &upload.key;
                format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>")
            })
            .collect();
        Arc::new(format!("<R>{uploads}<IsTruncated>false</IsTruncated></R>").into_bytes())
    }
}
