// SPDX-License-Identifier: GPL-2.0

//! Names of PCI devices and classes, from the system's pci.ids.

use std::{collections::HashMap, fs, path::Path};

const PLACES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// Names by number.
#[derive(Default, Debug)]
pub struct Names {
    vendors: HashMap<u16, String>,
    devices: HashMap<(u16, u16), String>,
    classes: HashMap<u8, String>,
    subclasses: HashMap<(u8, u8), String>,
}

impl Names {
    /// Reads the names from a file, or from where systems have them. Without a file there are only
    /// the names of a few classes.
    pub fn load(path: Option<&Path>) -> Self {
        let places = PLACES.iter().map(Path::new);
        let text = match path {
            Some(path) => fs::read(path).ok(),
            None => places.into_iter().find_map(|place| fs::read(place).ok()),
        };
        Self::parse(&String::from_utf8_lossy(&text.unwrap_or_default()))
    }

    /// Reads the text of pci.ids. Lines that are not understood mean nothing.
    pub fn parse(text: &str) -> Self {
        let mut names = Self::default();
        for (class, subclass, name) in BUILT_IN {
            names.subclasses.insert((*class, *subclass), (*name).into());
        }
        let (mut vendor, mut class) = (None, None);
        for line in text.lines() {
            if line.starts_with('#') || line.trim().is_empty() || line.starts_with("\t\t") {
                continue;
            }
            let (number, name) = match line.trim_start().split_once("  ") {
                Some((number, name)) => (number.trim(), name.trim().to_owned()),
                None => continue,
            };
            if line.starts_with('\t') {
                if let (Some(vendor), Some(device)) = (vendor, hex16(number)) {
                    names.devices.insert((vendor, device), name);
                } else if let (Some(class), Some(sub)) = (class, hex8(number)) {
                    names.subclasses.insert((class, sub), name);
                }
            } else if let Some(number) = number.strip_prefix("C ") {
                (vendor, class) = (None, hex8(number));
                if let Some(class) = class {
                    names.classes.insert(class, name);
                }
            } else {
                (vendor, class) = (hex16(number), None);
                if let Some(vendor) = vendor {
                    names.vendors.insert(vendor, name);
                }
            }
        }
        names
    }

    /// What a device is.
    pub fn device(&self, vendor: u16, device: u16) -> Option<String> {
        let maker = self.vendors.get(&vendor)?;
        Some(match self.devices.get(&(vendor, device)) {
            Some(name) => format!("{maker} {name}"),
            None => format!("{maker} device {device:04x}"),
        })
    }

    /// What kind of device has this class.
    pub fn class(&self, class: u32) -> Option<String> {
        let (base, sub) = ((class >> 16) as u8, (class >> 8) as u8);
        let name = self.subclasses.get(&(base, sub));
        name.or_else(|| self.classes.get(&base)).cloned()
    }
}

/// Classes that are named without a file.
const BUILT_IN: &[(u8, u8, &str)] = &[
    (0x01, 0x06, "SATA controller"),
    (0x01, 0x08, "NVMe controller"),
    (0x02, 0x00, "Ethernet controller"),
    (0x03, 0x00, "VGA controller"),
    (0x06, 0x00, "Host bridge"),
    (0x06, 0x01, "ISA bridge"),
    (0x06, 0x04, "PCI bridge"),
    (0x08, 0x06, "IOMMU"),
    (0x0c, 0x03, "USB controller"),
    (0x0c, 0x05, "SMBus"),
];

fn hex16(text: &str) -> Option<u16> {
    (text.len() == 4).then(|| u16::from_str_radix(text, 16).ok())?
}

fn hex8(text: &str) -> Option<u8> {
    (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok())?
}
