"""Sound files of many kinds, made by the encoders that are there."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from duologue.audio import AudioChunk
from duologue.testing import tone


def file(sound: AudioChunk, kind: str, subtype: str | None = None, channels: int = 1) -> bytes:
    """A file as libsndfile writes it."""
    data = io.BytesIO()
    with soundfile.SoundFile(data, "w", sound.rate, channels, subtype, format=kind) as writer:
        for start in range(0, len(sound.samples), sound.rate):  # libsndfile dies of 60 s of OGG
            part = sound.samples[start : start + sound.rate]
            writer.write(np.stack([part] * channels, axis=1))
    return data.getvalue()


def contained(
    sound: AudioChunk, kind: str, codec: str, picture: str = "", layout: str = "mono"
) -> bytes:
    """A file as phones, cameras and browsers record it, perhaps with a picture."""
    av = pytest.importorskip("av", reason="the package av is not installed")
    data = io.BytesIO()
    with av.open(data, "w", format=kind) as container:
        try:
            stream = container.add_stream(codec, rate=sound.rate, layout=layout)
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this FFmpeg has no encoder {codec}")
        stream.bit_rate = 12_200 if "amrnb" in codec else 64_000
        if picture:
            pictures = container.add_stream(picture, rate=25)
            pictures.width = pictures.height = 64
            pictures.pix_fmt = "yuv420p"
            black = av.VideoFrame(64, 64, "yuv420p")
            container.mux([*pictures.encode(black), *pictures.encode(None)])
        # Interleaved: PyAV makes no planar frames of eight channels.
        samples = np.repeat(sound.samples, av.AudioLayout(layout).nb_channels)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
        frame.rate = sound.rate
        for part in (frame, None):
            container.mux(stream.encode(part))
    return data.getvalue()


def repacked(data: bytes, kind: str) -> bytes:
    """The same sound, as it is encoded, in another container."""
    av = pytest.importorskip("av", reason="the package av is not installed")
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as there, av.open(out, "w", format=kind) as here:
        stream = here.add_stream_from_template(there.streams.audio[0])
        for packet in there.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                here.mux(packet)
    return out.getvalue()


def _low(seconds: float) -> AudioChunk:
    return tone(seconds, 8_000)


def _high(seconds: float) -> AudioChunk:
    return tone(seconds, 48_000)


KINDS: dict[str, Callable[[float], bytes]] = {
    "wav": lambda s: file(_high(s), "WAV"),
    "wav, float": lambda s: file(_high(s), "WAV", "FLOAT", 2),
    "wav, ADPCM": lambda s: file(_low(s), "WAV", "MS_ADPCM"),
    "wav, mu-law": lambda s: file(_low(s), "WAV", "ULAW"),
    "rf64": lambda s: file(_high(s), "RF64"),
    "w64": lambda s: file(_high(s), "W64"),
    "aiff": lambda s: file(_high(s), "AIFF", "PCM_24"),
    "au": lambda s: file(_low(s), "AU", "ALAW"),
    "caf": lambda s: file(_high(s), "CAF", "ALAC_16"),
    "voc": lambda s: file(_low(s), "VOC", "PCM_U8"),
    "flac": lambda s: file(_high(s), "FLAC", channels=2),
    "ogg, vorbis": lambda s: file(_high(s), "OGG"),
    "ogg, opus": lambda s: contained(_high(s), "ogg", "libopus"),
    "mp3": lambda s: file(_high(s), "MP3"),
    "mp3, behind a tag": lambda s: contained(_high(s), "mp3", "libmp3lame"),
    "m4a": lambda s: contained(_high(s), "ipod", "aac", layout="stereo"),
    "mp4, film": lambda s: contained(_high(s), "mp4", "aac", "mpeg4"),
    "mp4, alac": lambda s: contained(_high(s), "mp4", "alac"),
    "mov, eight channels": lambda s: contained(_high(s), "mov", "pcm_s16le", layout="7.1"),
    "mkv, flac": lambda s: repacked(file(_high(s), "FLAC", channels=2), "matroska"),
    "webm, opus": lambda s: contained(_high(s), "webm", "libopus"),
    "webm, film": lambda s: contained(_high(s), "webm", "libopus", "libvpx"),
    "aac": lambda s: contained(_high(s), "adts", "aac"),
    "amr": lambda s: contained(_low(s), "amr", "libopencore_amrnb"),
    "3gp": lambda s: contained(_low(s), "3gp", "libopencore_amrnb"),
    "avi": lambda s: contained(_high(s), "avi", "libmp3lame"),
    "wma": lambda s: contained(tone(s, 44_100), "asf", "wmav2"),
    "mpegts": lambda s: contained(_high(s), "mpegts", "aac"),
    "ac3": lambda s: contained(_high(s), "ac3", "ac3"),
    "wavpack": lambda s: contained(_high(s), "wv", "wavpack"),
}
"""A short file of each kind, of some seconds."""
