"""Sound at the edges: bytes, files, rates."""

import http.server
import io
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from duologue.audio import (
    AudioChunk,
    Downsampler,
    Mp3Stream,
    PcmStream,
    WavStream,
    concatenate,
    from_pcm16,
    read_audio,
    silence,
    to_mp3,
    to_wav,
)
from duologue.errors import AudioTooLong, InvalidAudio
from duologue.testing import tone


def write(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


@given(st.binary(max_size=400).filter(lambda data: len(data) % 2 == 0))
def test_pcm16_comes_back_to_the_bit_but_for_rounding(data: bytes) -> None:
    there = np.frombuffer(data, "<i2").astype(int)
    back = np.frombuffer(from_pcm16(data, 24_000).pcm16(), "<i2").astype(int)
    assert np.abs(there - back).max(initial=0) <= 1


def test_an_odd_number_of_bytes_is_refused() -> None:
    with pytest.raises(InvalidAudio, match="3 bytes"):
        from_pcm16(b"abc", 24_000)


def test_what_is_too_loud_is_clipped_and_never_wrapped() -> None:
    loud = AudioChunk(np.array([2.0, -2.0], np.float32), 24_000)
    assert np.frombuffer(loud.pcm16(), "<i2").tolist() == [32767, -32767]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_files_of_any_rate_keep_their_length(tmp_path: Path, rate: int) -> None:
    sound = read_audio(write(tmp_path / "a.wav", tone(1, rate).samples, rate))
    assert sound.rate == rate
    assert sound.at(24_000).duration == pytest.approx(1, abs=0.001)


def test_stereo_is_mixed_to_mono(tmp_path: Path) -> None:
    both = np.stack([tone(1).samples, -tone(1).samples], axis=1)
    assert np.abs(read_audio(write(tmp_path / "a.wav", both, 16_000)).samples).max() < 1e-4


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path, "there is no file"),
        (lambda path: (path.write_bytes(b"not a sound"), path)[1], "no sound file"),
        (lambda path: write(path, np.zeros(0), 16_000), "0 samples"),
        (lambda path: write(path, np.array([np.nan]), 16_000, "FLOAT"), "not numbers"),
    ],
)
def test_what_is_no_sound_gets_a_sentence(tmp_path: Path, make: object, sentence: str) -> None:
    assert callable(make)
    with pytest.raises(InvalidAudio, match=sentence):
        read_audio(make(tmp_path / "a.wav"))


def file(sound: AudioChunk, kind: str, subtype: str | None = None, channels: int = 1) -> bytes:
    data = io.BytesIO()
    with soundfile.SoundFile(data, "w", sound.rate, channels, subtype, format=kind) as writer:
        for start in range(0, len(sound.samples), sound.rate):  # libsndfile dies of 60 s of OGG
            part = sound.samples[start : start + sound.rate]
            writer.write(np.stack([part] * channels, axis=1))
    return data.getvalue()


def contained(sound: AudioChunk, kind: str, codec: str, picture: str = "") -> bytes:
    """A file as phones and browsers record it, perhaps with a picture."""
    av = pytest.importorskip("av", reason="the package av is not installed")
    data = io.BytesIO()
    with av.open(data, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=sound.rate, layout="mono")
        if picture:
            pictures = container.add_stream(picture, rate=25)
            pictures.width = pictures.height = 64
            pictures.pix_fmt = "yuv420p"
            black = av.VideoFrame(64, 64, "yuv420p")
            container.mux([*pictures.encode(black), *pictures.encode(None)])
        frame = av.AudioFrame.from_ndarray(sound.samples[None], format="fltp", layout="mono")
        frame.rate = sound.rate
        for part in (frame, None):
            container.mux(stream.encode(part))
    return data.getvalue()


@pytest.mark.parametrize(
    ("kind", "codec", "rate", "picture"),
    [
        ("ipod", "aac", 44_100, ""),
        ("mp4", "aac", 16_000, ""),
        ("mp4", "aac", 48_000, "mpeg4"),
        ("3gp", "aac", 8_000, ""),
        ("adts", "aac", 24_000, ""),
        ("webm", "libopus", 48_000, ""),
        ("webm", "libopus", 48_000, "libvpx"),
        ("ogg", "libopus", 48_000, ""),
    ],
)
def test_what_phones_and_browsers_record_is_read(
    kind: str, codec: str, rate: int, picture: str
) -> None:
    sound = read_audio(contained(tone(2, rate), kind, codec, picture))
    assert sound.rate == rate
    assert sound.duration == pytest.approx(2, abs=0.2)  # AAC fills its frames up
    middle = sound.between(0.5, 1.5)
    assert np.sqrt(np.mean(middle.samples**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    crossings = np.count_nonzero(np.diff(np.signbit(middle.samples)))
    assert crossings == pytest.approx(2 * 220, abs=4)


def test_a_recording_on_disk_is_read_as_one_in_memory(tmp_path: Path) -> None:
    (tmp_path / "memo.m4a").write_bytes(data := contained(tone(1, 44_100), "ipod", "aac"))
    assert read_audio(tmp_path / "memo.m4a").duration == read_audio(data).duration


def test_without_the_package_for_them_containers_get_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = contained(tone(1, 48_000), "webm", "libopus")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InvalidAudio, match=r"pip install 'duologue\[formats\]', or use WAV"):
        read_audio(data)


@pytest.mark.parametrize(("kind", "codec"), [("ipod", "aac"), ("webm", "libopus")])
def test_a_container_that_is_broken_gets_a_sentence(kind: str, codec: str) -> None:
    data = contained(tone(1, 48_000), kind, codec)
    for part in (data[:100], data[:8] + bytes(500)):
        with pytest.raises(InvalidAudio, match=r"broken|no sound"):
            read_audio(part)


def test_a_film_without_sound_gets_a_sentence() -> None:
    av = pytest.importorskip("av", reason="the package av is not installed")
    data = io.BytesIO()
    with av.open(data, "w", format="webm") as container:
        pictures = container.add_stream("libvpx", rate=25)
        pictures.width = pictures.height = 64
        container.mux([*pictures.encode(av.VideoFrame(64, 64)), *pictures.encode(None)])
    with pytest.raises(InvalidAudio, match="no sound that can be read"):
        read_audio(data.getvalue())


def test_a_playlist_is_refused_and_nothing_that_it_names_is_opened(tmp_path: Path) -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    sound = write(tmp_path / "secret.wav", tone(1).samples, 16_000)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/secret.wav"
        for name in (url, str(sound), f"file://{sound}", f"concat:{sound}|{sound}"):
            for playlist in (
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n",
                f"ffconcat version 1.0\nfile '{name}'\n",
                f"<?xml version='1.0'?><MPD><BaseURL>{name}</BaseURL></MPD>",
                f"RTSP/1.0 200\n{name}",
                name,
            ):
                for head in (b"", b"    ftyp", b"\x1a\x45\xdf\xa3", b"\xff\xf1"):
                    with pytest.raises(InvalidAudio):
                        read_audio(head + playlist.encode())
        server.shutdown()
    assert asked == []


@pytest.mark.parametrize(
    "make",
    [
        lambda sound: file(sound, "WAV"),
        lambda sound: file(sound, "FLAC", channels=8),
        lambda sound: file(sound, "OGG"),
        lambda sound: file(sound, "MP3"),
        lambda sound: contained(sound, "ipod", "aac"),
        lambda sound: contained(sound, "webm", "libopus"),
    ],
    ids=["wav", "flac", "ogg", "mp3", "m4a", "webm"],
)
def test_no_more_is_decoded_than_the_limit(make: Callable[[AudioChunk], bytes]) -> None:
    data = make(silence(60, 48_000))
    assert read_audio(data, 61).duration == pytest.approx(60, abs=0.2)
    before = time.thread_time()
    read_audio(data)
    whole = time.thread_time() - before
    with pytest.raises(AudioTooLong, match="more than 1 s of sound"):
        read_audio(data, 1)
    assert time.thread_time() - before - whole < whole / 2


def test_a_sound_of_exactly_the_limit_is_taken() -> None:
    assert read_audio(file(tone(2), "WAV"), 2.0).duration == 2


def test_a_header_cannot_make_a_second_of_any_length() -> None:
    for rate in (1, 2_000_000):
        with pytest.raises(InvalidAudio, match=f"{rate} samples a second"):
            read_audio(file(AudioChunk(np.zeros(9, np.float32), rate), "WAV"))


def test_what_exceeds_full_scale_in_a_file_is_clipped(tmp_path: Path) -> None:
    huge = np.array([[3e38, 3e38], [-3e38, -3e38], [0.5, 0.5]], np.float32)
    sound = read_audio(write(tmp_path / "a.wav", huge, 16_000, "FLOAT"))
    assert sound.samples.tolist() == [1, -1, 0.5]


def sweep(start: float, end: float) -> AudioChunk:
    """Two seconds that go from one frequency to another."""
    time = np.arange(48_000) / 24_000
    phase = 2 * np.pi * (start * time + (end - start) * time**2 / 4)
    return AudioChunk((0.5 * np.sin(phase)).astype(np.float32), 24_000)


def downsample(sound: AudioChunk, step: int) -> np.ndarray:
    downsampler = Downsampler()
    starts = range(0, len(sound.samples), step)
    chunks = (AudioChunk(sound.samples[at : at + step], 24_000) for at in starts)
    return concatenate([downsampler.push(chunk) for chunk in chunks], 16_000).samples


@given(st.integers(1, 3000))
def test_the_size_of_the_chunks_changes_nothing_to_a_sample(step: int) -> None:
    sound = sweep(100, 6_000).between(0, 0.2)
    pieces, whole = downsample(sound, step), downsample(sound, 10**6)
    assert len(pieces) == len(whole)
    assert np.abs(pieces - whole).max() < 1e-5


def test_downsampling_gives_what_soxr_gives_and_is_not_late() -> None:
    sound = sweep(100, 6_000)
    ours, theirs = downsample(sound, 960), sound.at(16_000).samples
    assert len(theirs) - len(ours) < 16  # 1 ms
    late = 21  # samples: 1.3 ms
    assert np.abs(ours[100 + late : 30_000 + late] - theirs[100:30_000]).max() < 0.005


def test_what_16_khz_cannot_hold_is_gone() -> None:
    assert np.abs(downsample(sweep(8_500, 11_900), 960)[200:]).max() < 0.5 * 10 ** (-50 / 20)


def test_a_downsampler_refuses_another_rate() -> None:
    with pytest.raises(InvalidAudio, match="24000 Hz, got 8000 Hz"):
        Downsampler().push(silence(1, 8_000))


def test_wav_and_mp3_are_one_file_each_of_the_whole_sound() -> None:
    sound = tone(3, 24_000)
    for data, slack in ((to_wav(sound), 0.0), (to_mp3(sound), 0.1)):
        samples, rate = soundfile.read(io.BytesIO(data))
        assert rate == 24_000
        assert len(samples) / rate == pytest.approx(3, abs=slack + 1e-6)


def test_a_stream_can_be_read_from_its_first_frame_on_and_at_its_end() -> None:
    sound = tone(2, 24_000)
    pieces = [sound.between(at / 10, (at + 1) / 10) for at in range(20)]
    assert b"".join(map(PcmStream(24_000).push, pieces)) == sound.pcm16()
    for stream, slack in ((WavStream(24_000), 0.0), (Mp3Stream(24_000), 0.15)):
        written = [stream.push(piece) for piece in pieces]
        assert written[0], "the first 100 ms give something"
        samples, rate = soundfile.read(io.BytesIO(stream.head + written[0]))
        assert rate == 24_000
        assert len(samples) > 0
        whole = read_audio(stream.head + b"".join(written) + stream.end())
        assert whole.duration == pytest.approx(2, abs=slack + 1e-6)
        assert np.abs(whole.samples).max() == pytest.approx(0.3, abs=0.02)


def test_a_part_is_cut_by_seconds() -> None:
    assert tone(2).between(0.5, 1.25).duration == pytest.approx(0.75)
    assert tone(2).between(1.5, 9).duration == pytest.approx(0.5)
