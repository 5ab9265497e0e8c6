//! Counts over many reports: per class, process, driver build and day.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Class, CrashReport, Family, Location};

/// Incidents of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub class: Class,
    /// Its published letter, or `-`.
    pub letter: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// How many incidents.
    pub incidents: u64,
    /// How many of them are new since the mark.
    pub new: u64,
}

/// Incidents that have a name in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NamedCount {
    /// The process, or the driver's name, version and UUID.
    pub name: String,
    /// How many incidents.
    pub incidents: u64,
    /// How many of them count against the GPU software.
    pub gpu: u64,
    /// How many of all of them are new since the mark.
    pub new: u64,
}

/// Incidents of one build: of macOS and the driver together, or of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildCount {
    /// macOS and its build, or the program and its version.
    pub name: String,
    /// The driver's name, version and UUID; nothing for a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// How many incidents.
    pub incidents: u64,
    /// How many of them count against the GPU software.
    pub gpu: u64,
    /// The first day with an incident, UTC.
    pub first: Option<Date>,
    /// The last one.
    pub last: Option<Date>,
}

impl BuildCount {
    fn add(&mut self, report: &CrashReport) {
        self.incidents += 1;
        self.gpu += u64::from(report.class.family().counts());
        let Some(day) = report.captured.map(day_of) else { return };
        self.first = Some(self.first.map_or(day, |first| first.min(day)));
        self.last = Some(self.last.map_or(day, |last| last.max(day)));
    }

    /// Incidents a day, from the first to the last of those days.
    pub fn per_day(&self) -> Option<f64> {
        let days = self.first?.until(self.last?).ok()?.get_days() + 1;
        Some(self.incidents as f64 / f64::from(days))
    }
}

/// Incidents of one day, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// The day.
    pub date: Date,
    /// Incidents per family, in the order of [`Family::ALL`].
    pub families: [u64; Family::ALL.len()],
}

/// All counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Per class, in the order of the classes; classes without incidents are
    /// left out.
    pub classes: Vec<ClassCount>,
    /// Per process, the most frequent first.
    pub processes: Vec<NamedCount>,
    /// Per driver build, the most frequent first.
    pub drivers: Vec<NamedCount>,
    /// Per build of macOS and driver, the most frequent first.
    pub builds: Vec<BuildCount>,
    /// Per program that uses the GPU and its version, the most frequent first.
    pub programs: Vec<BuildCount>,
    /// Per day, oldest first; days without incidents are left out.
    pub days: Vec<Day>,
    /// Incidents whose report gives no time, and that no day counts.
    pub undated: u64,
}

impl Summary {
    /// Counts `reports`, each with whether it is new.
    pub fn of<'a>(reports: impl IntoIterator<Item = (&'a CrashReport, bool)>) -> Summary {
        let mut classes = BTreeMap::<Class, (u64, u64)>::new();
        let mut processes = BTreeMap::new();
        let mut drivers = BTreeMap::new();
        let mut builds = BTreeMap::<(String, Option<String>), BuildCount>::new();
        let mut programs = BTreeMap::<(String, Option<String>), BuildCount>::new();
        let mut days = BTreeMap::<Date, [u64; Family::ALL.len()]>::new();
        let mut undated = 0;
        for (report, new) in reports {
            let class = classes.entry(report.class).or_default();
            class.0 += 1;
            class.1 += u64::from(new);
            let process = report.process.clone().unwrap_or_else(|| "unknown".into());
            count(&mut processes, process, report, new);
            count(&mut drivers, driver(report), report, new);
            let os = report.os.clone().unwrap_or_else(|| "unknown macOS".into());
            builds.entry((os, Some(driver(report)))).or_default().add(report);
            for program in &report.programs {
                let version = program.version.as_deref().unwrap_or("version unknown");
                let name = format!("{} {version}", program.name);
                programs.entry((name, None)).or_default().add(report);
            }
            match report.captured {
                Some(time) => {
                    let families = days.entry(day_of(time)).or_default();
                    let family = report.class.family();
                    let index = Family::ALL.iter().position(|each| *each == family);
                    if let Some(count) = index.and_then(|index| families.get_mut(index)) {
                        *count += 1;
                    }
                }
                None => undated += 1,
            }
        }
        Summary {
            classes: classes
                .into_iter()
                .map(|(class, counts)| class_count(class, counts))
                .collect(),
            processes: frequent_first(processes),
            drivers: frequent_first(drivers),
            builds: builds_first(builds),
            programs: builds_first(programs),
            days: days.into_iter().map(|(date, families)| Day { date, families }).collect(),
            undated,
        }
    }
}

fn class_count(class: Class, (incidents, new): (u64, u64)) -> ClassCount {
    ClassCount { class, letter: class.letter(), title: class.title(), incidents, new }
}

fn count(into: &mut BTreeMap<String, NamedCount>, name: String, report: &CrashReport, new: bool) {
    let entry = into.entry(name).or_default();
    entry.incidents += 1;
    entry.gpu += u64::from(report.class.family().counts());
    entry.new += u64::from(new);
}

fn frequent_first(counts: BTreeMap<String, NamedCount>) -> Vec<NamedCount> {
    let mut list: Vec<NamedCount> =
        counts.into_iter().map(|(name, count)| NamedCount { name, ..count }).collect();
    list.sort_by(|a, b| b.incidents.cmp(&a.incidents).then_with(|| a.name.cmp(&b.name)));
    list
}

fn builds_first(counts: BTreeMap<(String, Option<String>), BuildCount>) -> Vec<BuildCount> {
    let mut list: Vec<BuildCount> = counts
        .into_iter()
        .map(|((name, driver), count)| BuildCount { name, driver, ..count })
        .collect();
    // The map is in order of names, and the sort is stable.
    list.sort_by_key(|count| std::cmp::Reverse(count.incidents));
    list
}

fn day_of(time: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(time).date()
}

fn driver(report: &CrashReport) -> String {
    let Some(driver) = &report.driver else { return "no AGX driver loaded".into() };
    let version = driver.version.as_deref().unwrap_or("unknown version");
    let uuid = driver.uuid.as_deref().unwrap_or("unknown UUID");
    let place = match driver.location {
        Some(Location::SharedCache) => ", in the shared cache",
        Some(Location::File) => ", a file",
        None => "",
    };
    format!("{} {version} {uuid}{place}", driver.name)
}
