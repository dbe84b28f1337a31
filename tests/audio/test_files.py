"""Sound files: which kinds are read, and what becomes of the others."""

import http.server
import io
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue.audio import AudioChunk, Samples, silence
from duologue.audio.blocks import BLOCK, Blocks, mono
from duologue.audio.child import decode
from duologue.audio.files import read_audio, read_plain_wav
from duologue.errors import AudioTooLong, InvalidAudio
from duologue.testing import tone
from made_files import KINDS, contained, file


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_files_of_any_rate_keep_their_length(tmp_path: Path, rate: int) -> None:
    sound = read_audio(put(tmp_path / "a.wav", file(tone(1, rate), "WAV")))
    assert sound.rate == rate
    assert sound.at(24_000).duration == pytest.approx(1, abs=0.001)


def test_plain_wav_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("duologue.audio.files.SoundReader")
    assert read_audio(file(tone(1), "WAV")).duration == 1


def voice(speaker: int, seconds: float = 1.0) -> Samples:
    """A sound that has nothing to do with that of another speaker."""
    return np.random.default_rng(speaker).normal(0, 0.1, round(seconds * 16_000)).astype("f4")


def stereo(left: Samples, right: Samples) -> AudioChunk:
    data = io.BytesIO()
    soundfile.write(data, np.stack([left, right], axis=1), 16_000, format="WAV", subtype="FLOAT")
    return decode(data.getvalue())


def level(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples**2)))


@pytest.mark.parametrize("other", [1.0, -1.0, 0.0, 0.001, -0.9, 0.5])
def test_a_voice_is_as_loud_as_it_was_whatever_the_other_channel_has_of_it(other: float) -> None:
    heard = stereo(voice(1), np.float32(other) * voice(1)).samples
    assert np.abs(np.abs(heard) - np.abs(voice(1))).max() < 0.01


def test_of_two_who_speak_on_a_channel_each_both_are_heard() -> None:
    heard = stereo(voice(1), 0.5 * voice(2)).samples
    for speaker, loud in ((1, 1.0), (2, 0.5)):
        part = np.dot(heard, voice(speaker)) / np.dot(voice(speaker), voice(speaker))
        assert part == pytest.approx(loud, rel=0.2)


def test_silence_on_all_channels_is_silence() -> None:
    assert level(stereo(0 * voice(1), 0 * voice(1)).samples) == 0


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_plain_wav_is_read_as_libsndfile_reads_it(kind: str, subtype: str, channels: int) -> None:
    data = file(AudioChunk(voice(1, 5), 16_000), kind, subtype, channels)
    sound = read_plain_wav(data)
    assert sound is not None
    theirs, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert np.abs(sound.samples - theirs[:, 0]).max() < 1e-6


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 36])
@pytest.mark.parametrize("whole", [0, 36, 0xFFFFFFFF])
def test_a_wav_whose_header_was_never_finished_is_read_to_its_end(size: int, whole: int) -> None:
    data = bytearray(file(tone(1), "WAV"))
    data[4:8], data[40:44] = whole.to_bytes(4, "little"), size.to_bytes(4, "little")
    assert read_audio(bytes(data)).duration == 1
    data[20:22] = b"\x07\x00"  # mu-law, which a decoder reads
    data[32:36] = b"\x01\x00\x08\x00"
    assert decode(bytes(data)).duration == pytest.approx(2, abs=0.01)


def test_a_wav_that_says_rightly_that_it_is_empty_holds_no_sound() -> None:
    data = file(silence(0, 16_000), "WAV") + b"LIST\x04\0\0\0INFO"
    data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    with pytest.raises(InvalidAudio, match="0 samples"):
        read_audio(data)


@pytest.mark.parametrize("pad", [b"", b"\0"])
@pytest.mark.parametrize("place", [12, 36])
def test_a_chunk_of_odd_size_hides_no_sound(pad: bytes, place: int) -> None:
    data = file(tone(1), "WAV")
    chunk = b"LIST\x07\0\0\0INFOabc" + pad
    assert read_audio(data[:place] + chunk + data[place:]).duration == 1


def test_a_wav_of_nothing_but_empty_chunks_is_no_sound() -> None:
    with pytest.raises(InvalidAudio):
        decode(b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\0\0\0\0" * 100_000)
    assert read_plain_wav(b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\0\0\0\0" * 100_000) is None


@pytest.mark.parametrize("kind", KINDS)
def test_thirty_kinds_of_file_are_read(kind: str) -> None:
    sound = decode(KINDS[kind](1))
    assert sound.duration == pytest.approx(1, abs=0.1)
    middle = sound.between(0.3, 0.7)
    speech_only = kind in ("amr", "3gp")  # a tone comes out of that anyhow
    assert level(middle.samples) == pytest.approx(0.3 / np.sqrt(2), rel=1 if speech_only else 0.15)


def tagged(size: int, after: bytes, data: bytes) -> bytes:
    """A file behind an ID3 tag of `size` bytes."""
    bits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + bits + bytes(size) + after + data


@pytest.mark.parametrize("kind", ["mp3", "aac"])
@pytest.mark.parametrize("size", [0, 1_000, 100_000])
@pytest.mark.parametrize("after", [b"", bytes(700), b"junk" * 30])
def test_a_tag_and_what_some_programs_leave_behind_it_hide_no_sound(
    kind: str, size: int, after: bytes
) -> None:
    sound = decode(tagged(size, after, KINDS[kind](1)))
    assert sound.duration == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path, "there is no file"),
        (lambda path: put(path, b"not a sound"), "no sound file"),
        (lambda path: put(path, file(silence(0, 16_000), "WAV")), "0 samples"),
        (
            lambda path: put(
                path, file(AudioChunk(np.full(9, np.nan, "f4"), 16_000), "WAV", "FLOAT")
            ),
            "not numbers",
        ),
    ],
)
def test_what_is_no_sound_gets_a_sentence(tmp_path: Path, make: object, sentence: str) -> None:
    assert callable(make)
    with pytest.raises(InvalidAudio, match=sentence):
        read_audio(make(tmp_path / "a.wav"))


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
    sound = decode(contained(tone(2, rate), kind, codec, picture))
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
        decode(data)


@pytest.mark.parametrize(("kind", "codec"), [("ipod", "aac"), ("webm", "libopus")])
def test_a_container_that_is_broken_gets_a_sentence(kind: str, codec: str) -> None:
    data = contained(tone(1, 48_000), kind, codec)
    for part in (data[:100], data[:8] + bytes(500)):
        with pytest.raises(InvalidAudio, match=r"broken|no sound"):
            decode(part)


def test_a_film_without_sound_gets_a_sentence() -> None:
    av = pytest.importorskip("av", reason="the package av is not installed")
    data = io.BytesIO()
    with av.open(data, "w", format="webm") as container:
        pictures = container.add_stream("libvpx", rate=25)
        pictures.width = pictures.height = 64
        container.mux([*pictures.encode(av.VideoFrame(64, 64)), *pictures.encode(None)])
    with pytest.raises(InvalidAudio, match="no sound that can be read"):
        decode(data.getvalue())


@pytest.mark.parametrize(
    ("kind", "name"), [("3gp", b"samr"), ("avi", b"U\0\1\0"), ("webm, opus", b"A_OPUS")]
)
def test_a_film_whose_sound_nobody_knows_gets_a_sentence(kind: str, name: bytes) -> None:
    data = KINDS[kind](1)
    assert name in data
    with pytest.raises(InvalidAudio, match="no sound that can be read"):
        decode(data.replace(name, b"XYZW" + name[4:]))


def test_a_playlist_is_refused_and_nothing_that_it_names_is_opened(tmp_path: Path) -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    sound = put(tmp_path / "secret.wav", file(tone(1), "WAV"))
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
                        decode(head + playlist.encode())
        server.shutdown()
    assert asked == []


def test_a_sound_of_exactly_the_limit_is_taken() -> None:
    assert read_audio(file(tone(2), "WAV"), 2.0).duration == 2


def test_a_header_cannot_make_a_second_of_any_length() -> None:
    for rate in (1, 2_000_000):
        with pytest.raises(InvalidAudio, match=f"{rate} samples a second"):
            read_audio(file(AudioChunk(np.zeros(9, np.float32), rate), "WAV"))


def test_what_exceeds_full_scale_in_a_file_is_clipped() -> None:
    huge = AudioChunk(np.array([3e38, -3e38, 0.5], np.float32), 16_000)
    sound = read_audio(file(huge, "WAV", "FLOAT", channels=2))
    assert sound.samples.tolist() == pytest.approx([1, -1, 0.5])


@pytest.mark.parametrize(
    ("rate", "channels", "sentence"),
    [(48_000, 9, "9 channels"), (96_000, 8, "8 channels of 96000"), (400_000, 2, "2 channels of")],
)
@pytest.mark.parametrize("kind", ["WAV", "W64"])
def test_more_channels_and_samples_than_recorders_write_are_refused(
    kind: str, rate: int, channels: int, sentence: str
) -> None:
    with pytest.raises(InvalidAudio, match=sentence):
        decode(file(silence(0.01, rate), kind, channels=channels))
    with pytest.raises(InvalidAudio, match=sentence):
        read_audio(file(silence(0.01, rate), "WAV", channels=channels))


@pytest.mark.parametrize(
    "make",
    [
        lambda sound: file(sound, "W64"),
        lambda sound: file(sound, "FLAC", channels=8),
        lambda sound: file(sound, "OGG"),
        lambda sound: file(sound, "MP3"),
        lambda sound: contained(sound, "ipod", "aac"),
        lambda sound: contained(sound, "webm", "libopus"),
    ],
    ids=["w64", "flac", "ogg", "mp3", "m4a", "webm"],
)
def test_no_more_is_decoded_than_the_limit(
    make: Callable[[AudioChunk], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def counted(blocks: Blocks) -> Blocks:
        with closing(blocks):
            for rate, block in blocks:
                decoded.append(len(block))
                yield rate, block

    def counting(blocks: Blocks, limit: float, name: str) -> AudioChunk:
        return mono(counted(blocks), limit, name)

    monkeypatch.setattr("duologue.audio.child.mono", counting)
    data = make(silence(60, 48_000))
    assert decode(data, 61).duration == pytest.approx(60, abs=0.2)
    decoded.clear()
    with pytest.raises(AudioTooLong, match="more than 1 s of sound"):
        decode(data, 1)
    assert sum(decoded) <= 48_000 + BLOCK
