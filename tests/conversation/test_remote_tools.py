"""The tools of servers, in a dialogue: what is told, in which order, and what a model reads of it."""

from duologue.conversation.effects import CallTool, Effect, ListTools, Send
from duologue.conversation.events import (
    ErrorOccurred,
    ToolAnswered,
    ToolCallEnded,
    ToolListEnded,
    ToolsListed,
)
from duologue.conversation.items import Conversation, FunctionCall, Item, ToolUse, as_functions
from duologue.conversation.remote_tools import RemoteTools
from duologue.errors import Unreachable
from duologue.tools import Function, ToolFailure, ToolFilter, Tools, ToolServer

FILES = ToolServer("files", "http://files/mcp", approval="never")
READ, WRITE = Function("read", read_only=True), Function("write")
CALL = FunctionCall("read", "{}")


class Rig:
    """Some servers of tools, and what was done for them."""

    def __init__(self, *servers: ToolServer) -> None:
        self.conversation, self.effects = Conversation(), list[Effect]()
        self.tools = RemoteTools(self.conversation, self.effects.append)
        self.tools.change(servers)

    def done(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def told(self, kind: type) -> list[object]:
        sent = [effect.event for effect in self.effects if isinstance(effect, Send)]
        return [event for event in sent if isinstance(event, kind)]

    def list(self, *functions: Function) -> None:
        for effect in self.done(ListTools):
            assert isinstance(effect, ListTools)
            self.tools.learn(ToolsListed(effect.item_id, functions))


def test_of_two_functions_of_one_name_the_clients_own_is_taken() -> None:
    rig = Rig(FILES)
    rig.list(READ, WRITE)
    own = Function("read", "The client's.")
    offered = rig.tools.offer(Tools((own,), servers=(FILES,)))
    assert [(one.name, one.server) for one in offered.functions] == [
        ("read", ""),
        ("write", "files"),
    ]
    assert rig.tools.item_of(CALL, offered).kind == "function_call"


def test_a_server_is_asked_once_and_again_when_it_is_another() -> None:
    rig = Rig(FILES)
    rig.list(READ)
    rig.tools.change([FILES])
    assert len(rig.done(ListTools)) == 1
    fewer = ToolServer("files", "http://files/mcp", allowed=ToolFilter(("write",)))
    rig.tools.change([fewer])
    assert len(rig.done(ListTools)) == 2
    assert rig.tools.offer(Tools(servers=(fewer,))).functions == ()


def test_a_function_that_must_be_called_and_is_not_known_yet_need_not_be() -> None:
    rig = Rig(FILES)
    asked = Tools(choice="required", only="read", servers=(FILES,))
    assert rig.tools.offer(asked).choice == "auto"
    rig.list(READ)
    assert rig.tools.offer(asked).only == "read"


def test_tools_that_come_after_their_server_was_taken_back_are_nobodys() -> None:
    rig = Rig(FILES)
    rig.tools.change([])
    rig.list(READ)
    assert rig.tools.offer(Tools(servers=(FILES,))).functions == ()
    assert len(rig.told(ToolListEnded)) == 1


def test_a_call_whose_server_was_taken_back_fails() -> None:
    rig = Rig(FILES)
    rig.list(READ)
    item = rig.tools.item_of(CALL, rig.tools.offer(Tools(servers=(FILES,))))
    rig.conversation.add(item)
    rig.tools.change([])
    rig.tools.begin([item])
    assert rig.done(CallTool) == []
    assert len(rig.told(ToolCallEnded)) == 1
    assert item.tool
    assert item.tool.failure


def test_a_call_that_was_deleted_meanwhile_is_told_of_no_more() -> None:
    rig = Rig(FILES)
    rig.list(READ)
    item = rig.tools.item_of(CALL, rig.tools.offer(Tools(servers=(FILES,))))
    rig.conversation.add(item)
    rig.tools.begin([item])
    rig.conversation.remove(item)
    rig.tools.answer(ToolAnswered(item.id, "words"))
    assert rig.told(ToolCallEnded) == []


def test_a_list_that_fails_is_told_with_its_error() -> None:
    rig = Rig(FILES)
    [asked] = rig.done(ListTools)
    assert isinstance(asked, ListTools)
    rig.tools.learn(ToolsListed(asked.item_id, error=Unreachable("it is not there")))
    [ended] = rig.told(ToolListEnded)
    assert isinstance(ended, ToolListEnded)
    assert ended.item.status == "failed"
    assert len(rig.told(ErrorOccurred)) == 1


def test_models_read_calls_of_servers_as_functions() -> None:
    call = Item("item_f1", "assistant", "mcp_call", "{}", name="read")
    refused = Item("item_f2", "assistant", "mcp_approval_request", "{}", name="write")
    no = Item("item_3", "user", "mcp_approval_response", "No.", tool=ToolUse(request_id="item_f2"))
    listed = Item("item_l1", "system", "mcp_list_tools", "[]", tool=ToolUse("files"))
    under_way = Item("item_f4", "assistant", "mcp_call", "{}", tool=ToolUse("files"))
    call.tool = ToolUse("files", output="words")
    refused.tool = ToolUse("files")
    plain = as_functions([listed, call, refused, no, under_way])
    assert [(item.kind, item.text) for item in plain] == [
        ("function_call", "{}"),
        ("function_call_output", "words"),
        ("function_call", "{}"),
        ("function_call_output", "The user does not allow this call. No."),
    ]
    assert plain[0].call_id == plain[1].call_id != plain[2].call_id
    call.tool = ToolUse("files", failure=ToolFailure("http_error", "gone", 502))
    assert as_functions([call])[1].text == "Error: gone"
