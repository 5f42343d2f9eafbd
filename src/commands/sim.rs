//! `vigil sim`: writes or sends a simulated night flight.

use std::path::{Path, PathBuf};
use std::time::Instant;

use image::{Rgb, RgbImage};

use crate::base::progress::Progress;
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::SampleData;
use crate::sim::{
    Destination, FAULTS, FaultPlan, Flight, FlightPlan, ObjectClass, SimFrame, StreamWriter, TiffWriter,
    TruthWriter,
};

/// Simulates a flight at night: thermal video with the drone's telemetry in it, and the truth beside it.
///
/// The same seed gives the same flight. What is not said is a plausible night over fields: a road, a
/// pond, groves, stones warm from the day, animals, cars, and people, some of them half hidden.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    vigil sim --out flight.ts --seed 7 --people 3 --minutes 2     a file, its truth in flight.truth.jsonl\n  \
    vigil sim --udp 127.0.0.1:5600 --rain 10 --fps 25             live, in heavy rain\n  \
    vigil sim --stills pictures --boxes --minutes 0.5             look at it\n  \
    vigil sim --out bad.ts --fault telemetry-dropout@20..35 --fault klv-late@50..70=800\n  \
    vigil sim --tiff counts --plan night.toml                     16-bit pictures of a plan of your own\n  \
    vigil sim --print-plan --seed 7 --people 1 > night.toml       a plan to start from\n\n\
    Exit codes: 0 done, 64 wrong arguments, 69 no encoder, 78 a plan that no flight can be made of.")]
pub(super) struct Args {
    /// Transport stream to write: H.264 video and KLV (MISB ST 0601).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sends the transport stream to HOST:PORT as time passes, with the clock's time in it.
    #[arg(long, value_name = "HOST:PORT")]
    udp: Option<String>,
    /// Folder for 16-bit pictures (TIFF) of 0.04 K a count.
    #[arg(long, value_name = "DIR")]
    tiff: Option<PathBuf>,
    /// Folder for pictures to look at (PNG), one every few seconds.
    #[arg(long, value_name = "DIR")]
    stills: Option<PathBuf>,
    /// Seconds between two stills.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    stills_every: f64,
    /// Draws boxes around what is there into the stills.
    #[arg(long)]
    boxes: bool,
    /// File for the truth, JSON lines. Otherwise beside the transport stream.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// The flight in TOML or JSON. Options besides count more.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Everything random comes from it.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the flight takes.
    #[arg(long)]
    minutes: Option<f64>,
    /// People at random places.
    #[arg(long)]
    people: Option<u32>,
    /// Metres above the ground.
    #[arg(long, value_name = "METRES")]
    height: Option<f64>,
    /// Where the camera looks, -90 straight down to -15.
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    pitch: Option<f64>,
    /// Metres a second over the ground.
    #[arg(long, value_name = "M/S")]
    speed: Option<f64>,
    /// Sides of the landscape.
    #[arg(long, value_name = "METRES")]
    side: Option<f64>,
    /// Frames a second.
    #[arg(long)]
    fps: Option<f64>,
    /// Rain in millimetres an hour.
    #[arg(long, value_name = "MM/H")]
    rain: Option<f64>,
    /// Shows warm as dark.
    #[arg(long)]
    black_hot: bool,
    /// What goes wrong, KIND@FROM..TO in seconds; may be given several times.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
    /// Lists the faults there are.
    #[arg(long)]
    list_faults: bool,
    /// Prints the whole plan in TOML and flies nothing.
    #[arg(long)]
    print_plan: bool,
    /// Prints a summary as JSON.
    #[arg(long)]
    json: bool,
}

/// What was made.
#[derive(serde::Serialize)]
struct Summary {
    seed: u64,
    seconds: f64,
    frames: u64,
    packets: u64,
    people: usize,
    /// People of whom something could be seen in at least one frame.
    people_seen: usize,
    objects: usize,
    frames_per_second: f64,
    out: Option<PathBuf>,
    udp: Option<String>,
    truth: Option<PathBuf>,
    stills: u64,
}

fn usage(says: impl Into<String>) -> Error {
    Error::new(Kind::Usage, Culprit::Request, says)
}

impl Args {
    fn flight(&self) -> Result<FlightPlan> {
        let mut plan = self.plan.as_deref().map(FlightPlan::load).transpose()?.unwrap_or_default();
        fn set<T: Copy>(into: &mut T, from: Option<T>) {
            if let Some(value) = from {
                *into = value;
            }
        }
        set(&mut plan.seed, self.seed);
        set(&mut plan.seconds, self.minutes.map(|m| m * 60.0));
        set(&mut plan.scene.people, self.people);
        set(&mut plan.path.height_m, self.height);
        set(&mut plan.path.pitch_deg, self.pitch);
        set(&mut plan.path.speed_m_s, self.speed);
        set(&mut plan.scene.side_m, self.side);
        set(&mut plan.camera.fps, self.fps);
        set(&mut plan.weather.rain_mm_h, self.rain);
        plan.camera.black_hot |= self.black_hot;
        if self.tiff.is_some() {
            plan.camera.kelvin_per_count.get_or_insert(0.04);
        }
        if self.udp.is_some() {
            plan.start = jiff::Timestamp::now();
        }
        for fault in &self.faults {
            plan.faults.push(fault.parse::<FaultPlan>()?);
        }
        plan.check()?;
        Ok(plan)
    }
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    if args.list_faults {
        let wide = FAULTS.iter().map(|(form, _)| form.len()).max().unwrap_or(0);
        return FAULTS
            .iter()
            .try_for_each(|(form, does)| super::print_line(&format!("{form:wide$}  {does}")));
    }
    let plan = args.flight()?;
    if args.print_plan {
        return super::print_line(plan.to_toml()?.trim_end());
    }
    if args.out.is_some() && args.udp.is_some() {
        return Err(usage("--out and --udp do not go together").remedy("run the same seed twice"));
    }
    if args.out.is_none()
        && args.udp.is_none()
        && args.tiff.is_none()
        && args.stills.is_none()
        && args.truth.is_none()
    {
        return Err(usage("it is not said where the flight goes")
            .remedy("give --out, --udp, --tiff, --stills or --truth"));
    }
    if args.stills_every.is_nan() || args.stills_every <= 0.0 {
        return Err(usage(format!("--stills-every {} is no time", args.stills_every)));
    }
    let destination = match (&args.out, &args.udp) {
        (Some(path), _) => Some(Destination::File(path.clone())),
        (None, Some(to)) => {
            let (host, port) = to.rsplit_once(':').ok_or_else(|| usage(format!("`{to}` is no HOST:PORT")))?;
            let port = port.parse().map_err(|_| usage(format!("`{port}` is no port")))?;
            Some(Destination::Udp { host: host.trim_matches(['[', ']']).to_owned(), port })
        }
        (None, None) => None,
    };
    let truth_path = args.truth.clone().or(args.out.as_ref().map(|p| p.with_extension("truth.jsonl")));
    let flight = Flight::new(&plan)?;
    let objects = flight.objects();
    let people = objects.iter().filter(|o| o.class() == ObjectClass::Person).count();
    let mut stream = destination.map(|to| StreamWriter::new(&to, &plan.camera)).transpose()?;
    let mut tiff = args.tiff.as_deref().map(TiffWriter::new).transpose()?;
    let mut truth = truth_path.as_deref().map(|p| TruthWriter::new(p, &flight)).transpose()?;
    if let Some(dir) = &args.stills {
        std::fs::create_dir_all(dir)
            .map_err(|e| Error::io(Culprit::Request, format!("cannot make {}", dir.display()), e))?;
    }
    let (mut packets, mut stills, mut next_still) = (0, 0, 0.0);
    let mut seen = std::collections::BTreeSet::new();
    let started = Instant::now();
    let mut progress = Progress::new("frames", plan.frames());
    for frame in flight {
        let frame = frame?;
        packets += frame.packets.len() as u64;
        let shown = frame.truth.objects.iter().filter(|o| o.class == ObjectClass::Person && o.visible > 0.0);
        seen.extend(shown.map(|o| o.id));
        if let Some(stream) = &mut stream {
            stream.frame(&frame)?;
        }
        if let Some(tiff) = &mut tiff {
            tiff.frame(&frame)?;
        }
        if let Some(truth) = &mut truth {
            truth.frame(&frame)?;
        }
        if let Some(dir) = &args.stills
            && frame.at.as_secs_f64() >= next_still - 1e-9
        {
            next_still += args.stills_every;
            stills +=
                u64::from(still(&dir.join(format!("still-{:06}.png", frame.sequence)), &frame, args.boxes)?);
        }
        progress.add(1);
    }
    drop(progress);
    if let Some(stream) = stream {
        stream.finish()?;
    }
    if let Some(truth) = truth {
        truth.finish()?;
    }
    let frames = plan.frames();
    let summary = Summary {
        seed: plan.seed,
        seconds: plan.seconds,
        frames,
        packets,
        people,
        people_seen: seen.len(),
        objects: objects.len(),
        frames_per_second: (frames as f64 / started.elapsed().as_secs_f64().max(1e-3) * 10.0).round() / 10.0,
        out: args.out,
        udp: args.udp,
        truth: truth_path,
        stills,
    };
    if args.json {
        let text = serde_json::to_string(&summary)
            .map_err(|e| Error::internal("cannot write JSON").with_source(e))?;
        return super::print_line(&text);
    }
    super::print_line(&format!(
        "{frames} frames of {:.0} s with {packets} messages, {:.1} frames a second; {} of {people} people were in view",
        summary.seconds, summary.frames_per_second, summary.people_seen
    ))?;
    for path in summary.out.iter().chain(&summary.truth) {
        super::print_line(&path.display().to_string())?;
    }
    Ok(())
}

/// Writes one picture to look at; 16 bits are stretched between their ends. Whether there was one.
fn still(path: &Path, frame: &SimFrame, boxes: bool) -> Result<bool> {
    let Some(picture) = &frame.picture else { return Ok(false) };
    let grey: Vec<u8> = match picture.data() {
        SampleData::Eight(v) => v.clone(),
        SampleData::Sixteen(v) => {
            let (low, high) = v.iter().fold((u16::MAX, 0), |(l, h), s| (l.min(*s), h.max(*s)));
            let span = f32::from(high.saturating_sub(low).max(1));
            v.iter().map(|s| (f32::from(s - low) / span * 255.0) as u8).collect()
        }
    };
    let mut out = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let g = grey[(y * picture.width() + x) as usize];
        Rgb([g, g, g])
    });
    if boxes {
        for object in &frame.truth.objects {
            let full = match object.class {
                ObjectClass::Person => [255, 60, 60],
                ObjectClass::Animal => [255, 190, 0],
                ObjectClass::Vehicle => [80, 160, 255],
                _ => continue,
            };
            // What is hidden is drawn darker.
            let colour = if object.visible > 0.15 { Rgb(full) } else { Rgb(full.map(|c: u8| c / 2)) };
            outline(&mut out, &object.bbox, colour);
        }
    }
    out.save(path).map_err(|e| {
        Error::new(Kind::Unavailable, Culprit::Request, format!("cannot write {}", path.display()))
            .with_source(e)
    })?;
    Ok(true)
}

fn outline(picture: &mut RgbImage, b: &crate::thermal::PixelBox, colour: Rgb<u8>) {
    let (w, h) = (picture.width() as i32, picture.height() as i32);
    let (l, t) = (b.x as i32 - 3, b.y as i32 - 3);
    let (r, bottom) = ((b.x + b.width) as i32 + 3, (b.y + b.height) as i32 + 3);
    let mut dot = |x: i32, y: i32| {
        if (0..w).contains(&x) && (0..h).contains(&y) {
            picture.put_pixel(x as u32, y as u32, colour);
        }
    };
    (l..=r).for_each(|x| [t, bottom].into_iter().for_each(|y| dot(x, y)));
    (t..=bottom).for_each(|y| [l, r].into_iter().for_each(|x| dot(x, y)));
}
