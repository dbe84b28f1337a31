"""The process that decodes sound files: libsndfile and FFmpeg on the bytes of strangers.

In and out: `REQUEST` and `ANSWER` of `sound_files`, each followed by what it announces.
"""

import contextlib
import importlib
import io
import math
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import soundfile

from duologue.audio import AudioChunk
from duologue.audio.blocks import BLOCK, MOST_SAMPLES, Blocks, check_format, check_length, mono
from duologue.audio.files import (
    ANSWER,
    FAULT,
    INVALID,
    READY,
    REQUEST,
    SOUND,
    TOO_LONG,
    seconds_for,
)
from duologue.errors import AudioTooLong, InvalidAudio
from duologue.system import child

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from av.container import InputContainer

# What FFmpeg may look for. Not among them: playlists, which name other files.
_FORMATS = "aac,ac3,aiff,amr,asf,au,avi,caf,flac,matroska,mov,mp3,mpegts,ogg,w64,wav,wv"

# What is decoded inside a container. FFmpeg has hundreds of decoders, and pictures are none of ours.
_CODECS = (
    "aac,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,eac3,flac,gsm,gsm_ms,"
    "libopencore_amrnb,libopencore_amrwb,libopus,mp2,mp2float,mp3,mp3float,opus,pcm_alaw,pcm_f32be,"
    "pcm_f32le,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,"
    "pcm_s8,pcm_u8,vorbis,wavpack,wmav1,wmav2"
)

_ESTIMATED = ("MP3", "OGG")  # their headers do not say how long they are

# Bytes, for one file: the worst of usual kinds, 300 streams in one MP4, takes 225 MB.
_MEMORY = 256 * 2**20

_TAG = 10  # bytes of an ID3 tag's head

_FRAME = re.compile(rb"\xff[\xe2-\xff]")  # how frames of MP3 and of AAC begin


class _Refused(Exception):
    """Libsndfile knows nothing to do with it."""


def decode(data: bytes, limit: float = math.inf, name: str = "the data") -> AudioChunk:
    """Read a sound file as `mono` mixes it, in this process.

    Raises:
        InvalidAudio: it holds no sound that can be read.
        AudioTooLong: it holds more than `limit` seconds.
    """
    data = _without_tag(data)
    # AAC without a container, which libsndfile might take for a damaged MP3.
    if not (data[:1] == b"\xff" and data[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9")):
        try:
            return mono(_sndfile_blocks(data, limit, name), limit, name)
        except _Refused:
            pass  # FFmpeg reads more kinds, and more of what is damaged
    return mono(_ffmpeg_blocks(data, limit, name), limit, name)


def _without_tag(data: bytes) -> bytes:
    """MP3 or AAC from its first frame on; what programs leave between a tag and that is skipped."""
    if data[:3] != b"ID3" or len(data) <= _TAG:
        return data
    size = 0
    for seven_bits in data[6:_TAG]:
        size = size << 7 | seven_bits & 127
    frame = _FRAME.search(data, _TAG + size)
    return data[frame.start() :] if frame else data


def _sndfile_blocks(data: bytes, limit: float, name: str) -> Blocks:
    empty = True
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            check_format(file.samplerate, file.channels, name)
            if file.format not in _ESTIMATED and file.frames < 2**40:  # more: it is not known
                check_length(file.frames, file.samplerate, limit, name)
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                yield file.samplerate, block
                empty = False
    except soundfile.SoundFileError as error:
        raise _Refused from error
    if empty:
        raise _Refused


def _ffmpeg_blocks(data: bytes, limit: float, name: str) -> Blocks:
    try:
        import av
    except ImportError as error:
        raise InvalidAudio(
            f"{name} is no sound file that can be read here; M4A, WebM, AAC, AMR and others need the "
            "package 'av'; install it with: pip install 'duologue[formats]', or use WAV, FLAC, OGG or "
            "MP3"
        ) from error
    options = {
        "protocol_whitelist": "none",  # there is none of this name
        "format_whitelist": _FORMATS,
        "codec_whitelist": _CODECS,  # also while it looks what is in there
    }
    try:
        file = av.open(io.BytesIO(data), "r", container_options=options, io_open=_refuse)
    except (av.FFmpegError, ValueError) as error:
        raise InvalidAudio(
            f"{name} is no sound file that can be read (WAV, FLAC, OGG, MP3, M4A, WebM, AMR)"
        ) from error
    try:
        with file:
            yield from _stream_blocks(file, limit, name)
    except (av.FFmpegError, ValueError) as error:
        raise InvalidAudio(f"{name} is a broken {file.format.name} file") from error


def _stream_blocks(file: "InputContainer", limit: float, name: str) -> Blocks:
    import av

    known = _CODECS.split(",")
    for stream in file.streams.audio:
        form = stream.codec_context
        # None: FFmpeg itself knows it not, as the spatial sound beside the usual one of some phones.
        if form is not None and form.codec.name in known:
            break
    else:
        raise InvalidAudio(f"{name} holds no sound that can be read")
    if form.sample_rate and form.layout.nb_channels:  # or only the first frame knows
        check_format(form.sample_rate, form.layout.nb_channels, name)
    if file.format.name.startswith(("mov", "matroska")) and stream.duration and stream.time_base:
        # Others estimate it from their first bytes.
        seconds = float(stream.duration * stream.time_base)
        check_length(math.floor(seconds - 1), 1, limit, name)  # AAC fills its frames up
    # Interleaved: PyAV reads planar sound of eight channels past the end of its planes.
    resampler = av.AudioResampler(format="flt")
    for packet in file.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue  # junk between what is sound
        for frame in frames:
            check_format(frame.sample_rate, frame.layout.nb_channels, name)
            for part in resampler.resample(frame):
                channels = part.layout.nb_channels
                samples = np.asarray(part.to_ndarray(), np.float32)
                yield part.sample_rate, samples.reshape(-1, channels)


def _refuse(*_: object) -> NoReturn:
    raise PermissionError("a sound file opens no other")


def main() -> None:
    """Decode until standard input ends."""
    child.behave()
    with contextlib.suppress(ImportError):
        importlib.import_module("av")  # now, not in somebody's time
    _limit("RLIMIT_CORE", 0)  # it would hold somebody's voice
    _limit("RLIMIT_FSIZE", 0)
    # What a library prints must not get among the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    out.write(ANSWER.pack(READY, 0, 0))
    out.flush()
    while len(head := sys.stdin.buffer.read(REQUEST.size)) == REQUEST.size:
        size, called, rate, limit = REQUEST.unpack(head)
        name = sys.stdin.buffer.read(called).decode(errors="replace")
        data = sys.stdin.buffer.read(size)
        if len(data) < size:
            return  # whoever asks is gone
        _limit_one_file(size, limit)
        kind, found, answer = _answer(data, limit, rate, name)
        out.write(ANSWER.pack(kind, found, len(answer)))
        out.write(answer)
        out.flush()


def _answer(data: bytes, limit: float, rate: int, name: str) -> tuple[bytes, int, bytes]:
    try:
        sound = decode(data, limit, name)
        sound = sound.at(rate) if rate else sound
    except AudioTooLong as error:
        return TOO_LONG, 0, str(error).encode()
    except InvalidAudio as error:
        return INVALID, 0, str(error).encode()
    except MemoryError:
        return INVALID, 0, f"{name} takes too much memory to decode".encode()
    except Exception as error:  # noqa: BLE001  the border: the next file has nothing to do with it
        return FAULT, 0, f"{type(error).__name__}: {error}"[:500].encode(errors="replace")
    return SOUND, sound.rate, sound.samples.tobytes()


def _limit_one_file(size: int, limit: float) -> None:
    """What this file may cost besides what was spent on those before."""
    if sys.platform == "win32":
        return
    spent = resource.getrusage(resource.RUSAGE_SELF)
    _limit("RLIMIT_CPU", math.ceil(spent.ru_utime + spent.ru_stime) + seconds_for(limit))
    if sys.platform == "linux":  # elsewhere nobody says how much there is, or holds to the limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        # Twice, as the parts and as one; a file of its user's own may be of any length.
        sound = 2 * 4 * MOST_SAMPLES * min(limit, 3600)
        _limit("RLIMIT_AS", pages * resource.getpagesize() + _MEMORY + 2 * size + int(sound))


def _limit(what: str, amount: int) -> None:
    if sys.platform == "win32":
        return
    number = getattr(resource, what)
    _, most = resource.getrlimit(number)
    amount = amount if most == resource.RLIM_INFINITY else min(amount, most)
    resource.setrlimit(number, (amount, most))


if __name__ == "__main__":
    main()
