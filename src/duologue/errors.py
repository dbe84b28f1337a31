"""Every error that somebody can act on. Each knows the code it has on the wire.

The codes are the Realtime API's where it has one.
"""

_QUOTED = 100  # characters: errors are kept, logged and sent back


def quoted(value: object) -> str:
    """What somebody sent, as an error repeats it: its `repr`, cut to 100 characters."""
    # A long text is cut first: the repr of 15 MB takes a tenth of a second.
    text = repr(value[:_QUOTED] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1]}…"


class DuologueError(Exception):
    """Something went wrong that the message says how to mend: one sentence, no traceback needed."""

    code: str = "server_error"
    type: str = "server_error"
    param: str | None = None
    """The field that is to blame, if one is."""


class InvalidEvent(DuologueError):
    """A client sent something that is no event of the protocol, or not now."""

    code = "invalid_event"
    type = "invalid_request_error"


class InvalidField(InvalidEvent):
    """A field of an event is wrong; `param` is its name."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class NothingToCommit(InvalidEvent):
    """The client commits, and there is no sound."""

    code = "input_audio_buffer_commit_empty"


class ReplyActive(InvalidEvent):
    """The client asks for a reply while one is made."""

    code = "conversation_already_has_active_response"


class NoReply(InvalidEvent):
    """The client cancels, and no reply is made."""

    code = "response_cancel_not_active"


class UnknownItem(InvalidEvent):
    """An item is named that is not in the conversation."""

    def __init__(self, doing: str, verb: str, item_id: str, param: str = "item_id") -> None:
        """`doing`, `verb`: what the client wanted, as in "truncating" and "truncate"."""
        super().__init__(f"Error {doing} item: the item with id {quoted(item_id)} does not exist.")
        self.code = f"item_{verb}_invalid_item_id"
        self.param = param


class ItemExists(InvalidEvent):
    """An item is created under an id that is taken."""

    code = "item_create_duplicate_item_id"
    param = "item.id"


class InvalidAudio(DuologueError):
    """Bytes or a file that do not hold the audio they should."""

    code = "invalid_audio"
    type = "invalid_request_error"


class AudioTooLong(InvalidAudio):
    """A sound lasts longer than is taken."""

    code = "audio_too_long"


class ReaderUnavailable(DuologueError):
    """Sound files cannot be read now, for want of a process; the file is not to blame."""

    code = "reader_unavailable"


class InvalidRequest(DuologueError):
    """A request over HTTP that is malformed."""

    code = "invalid_request"
    type = "invalid_request_error"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedMediaType(InvalidRequest):
    """The body of a request is not of the kind that is read there."""

    code = "unsupported_media_type"


class NotOffered(DuologueError):
    """The model cannot do what was asked for."""

    code = "not_offered"
    type = "invalid_request_error"


class InvalidApiKey(DuologueError):
    """The server asks for a key, and this was none or another."""

    code = "invalid_api_key"
    type = "invalid_request_error"


class OriginNotAllowed(DuologueError):
    """A web page that is not the server's own wants to use it."""

    code = "origin_not_allowed"
    type = "invalid_request_error"


class HostNotAllowed(DuologueError):
    """A request is for a name that is not the server's own."""

    code = "host_not_allowed"
    type = "invalid_request_error"


class MessageTooBig(DuologueError):
    """One message exceeds the server's limit."""

    code = "message_too_big"
    type = "invalid_request_error"


class TooManySessions(DuologueError):
    """The server serves as many sessions as it was told to."""

    code = "too_many_sessions"


class TooManyReplies(DuologueError):
    """As many replies are under way, or waiting, as the server was told to take."""

    code = "too_many_replies"


class ShuttingDown(DuologueError):
    """The server lets its replies end and takes no new work."""

    code = "server_shutting_down"


class SessionExpired(DuologueError):
    """The session reached its maximum length."""

    code = "session_expired"


class SessionIdle(DuologueError):
    """The client sent nothing for a while, and its place was needed."""

    code = "session_idle"


class ClientTooSlow(DuologueError):
    """The client does not read what it asked for."""

    code = "client_too_slow"


class TooManyErrors(DuologueError):
    """The client sends one message after the other that is none."""

    code = "too_many_errors"
    type = "invalid_request_error"


class ModelFailed(DuologueError):
    """A model broke down in the middle of a reply."""

    code = "model_failed"


class ModelUnavailable(DuologueError):
    """A model cannot be loaded: unknown name, missing package, missing weights."""

    code = "model_unavailable"


class InvalidSetting(DuologueError):
    """A flag, an environment variable or a line of the configuration file is wrong."""

    code = "invalid_setting"
    type = "invalid_request_error"


class Unreachable(DuologueError):
    """A server or a registry does not answer."""

    code = "unreachable"
