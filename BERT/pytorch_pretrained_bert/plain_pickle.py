"""Pickles read by a machine that knows no module and can call nothing but the functions it is given.

pickle.Unpickler with a strict find_class is not enough for files of unknown origin: a memo index of 2**31 makes it take
gigabytes, and a tuple of pairs of pairs of ... as a key of a dictionary keeps it busy for ever. Here the standard
library's pickletools reads the opcodes, and what each of them does to a stack is written out below: containers, numbers,
text, bytes, and calls of functions from a table by name. A name that is not in the table is refused; nothing is imported.
"""
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

MAX_STEPS = 10_000_000      # opcodes; each makes at most one object, so memory is bounded by this and the file's size
MAX_KEY = 2 ** 31           # greater whole numbers are no keys: such can be chosen to collide

LITERALS = frozenset(('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT', 'STRING',
                      'BINSTRING', 'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8',
                      'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8'))
CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
CONTAINERS = {'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_TUPLE': tuple}
TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
PUTS, GETS = ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'), ('GET', 'BINGET', 'LONG_BINGET')
WITHOUT_EFFECT = ('PROTO', 'FRAME')


class Refused(ValueError):
    """A pickle is damaged, or asks for something that the machine does not do."""


class Name:
    """What a pickle names, "module.name": a word to look up in a table, nothing that was imported."""

    def __init__(self, name: str):
        self.name = name


class Unfinished:
    """What a call leaves that is to be completed by `build(state)` when the pickle gives its state."""

    def __init__(self, build: Callable[[Any], Any]):
        self.build = build
        self.places: list[int] = []      # where the memo has it


def load_pickle(file: BinaryIO, calls: Mapping[str, Callable | None],
                persistent: Callable[[Any], Any] | None = None) -> Any:
    """What the pickle that starts at the file's position holds; the position is then behind it.

    calls: "module.name" -> the function that stands for it, None for what is only named; persistent: the same for
    persistent ids. Raises Refused, whatever is wrong; MemoryError where the machine has less memory than the file asks for,
    which is never much more than its own size."""
    try:
        return _Machine(calls, persistent).run(file)
    except (Refused, MemoryError, OSError):
        raise
    except Exception as error:      # of opcodes cut off, an empty stack, arguments that do not fit: each in its own way
        raise Refused(f'damaged ({type(error).__name__})') from None


class _Machine:
    """A stack, a memo, and what the opcodes do to them."""

    def __init__(self, calls: Mapping[str, Callable | None], persistent: Callable[[Any], Any] | None):
        self.calls, self.persistent = calls, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []       # lengths of the stack at the marks
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        """Do every opcode up to STOP; returns what is then on top."""
        for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if step > MAX_STEPS:
                raise Refused(f'more than {MAX_STEPS:,} objects')
            if opcode.name == 'STOP':
                return self.stack.pop()
            self.do(opcode.name, argument)
        raise Refused('cut off')

    def do(self, name: str, argument: Any) -> None:
        """One opcode."""
        if name in LITERALS:
            self.stack.append(argument)
        elif name in PUTS:
            self.put(len(self.memo) if name == 'MEMOIZE' else int(argument))
        elif name in GETS:
            self.stack.append(self.memo[int(argument)])
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in CONTAINERS:
            self.stack.append(CONTAINERS[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self.pop(TUPLES[name])))
        elif name not in WITHOUT_EFFECT:
            handler = getattr(self, f'do_{name.lower()}', None)
            if handler is None:
                raise Refused(f'opcode {name} is not for arrays and plain containers')
            handler(argument)

    def pop(self, count: int) -> list[Any]:
        """The last `count` values of the stack, which loses them; none from before the last mark."""
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise Refused('too little on its stack')
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_to_mark(self) -> list[Any]:
        """What the stack has behind the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def put(self, index: int) -> None:
        """Note the value on top."""
        self.memo[index] = self.stack[-1]
        if isinstance(self.stack[-1], Unfinished):
            self.stack[-1].places.append(index)

    def top(self, kind: type) -> Any:
        """The value on top, which must be of a kind."""
        if type(self.stack[-1]) is not kind:
            raise Refused(f'adds to what is no {kind.__name__}')
        return self.stack[-1]

    def add_pairs(self, values: list[Any]) -> None:
        """Keys and values in turn, into the dictionary on top."""
        target = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str and not (type(key) is int and abs(key) < MAX_KEY):
                raise Refused(f'a dictionary has a key of type {type(key).__name__}')
            target[key] = value

    def do_mark(self, _) -> None:
        self.marks.append(len(self.stack))

    def do_pop(self, _) -> None:
        self.pop(1)

    def do_pop_mark(self, _) -> None:
        self.pop_to_mark()

    def do_tuple(self, _) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def do_list(self, _) -> None:
        self.stack.append(self.pop_to_mark())

    def do_dict(self, _) -> None:
        values = self.pop_to_mark()
        self.stack.append({})
        self.add_pairs(values)

    def do_append(self, _) -> None:
        values = self.pop(1)
        self.top(list).extend(values)

    def do_appends(self, _) -> None:
        values = self.pop_to_mark()
        self.top(list).extend(values)

    def do_setitem(self, _) -> None:
        self.add_pairs(self.pop(2))

    def do_setitems(self, _) -> None:
        self.add_pairs(self.pop_to_mark())

    def do_global(self, argument: str) -> None:
        self.name(*argument.split(' '))

    def do_stack_global(self, _) -> None:
        self.name(*self.pop(2))

    def name(self, module: str, name: str) -> None:
        """Push a name of the table."""
        full = f'{module}.{name}'
        if full not in self.calls:
            raise Refused(f'names {full[:60]!r}, which is no array, tensor or plain container')
        self.stack.append(Name(full))

    def do_reduce(self, _) -> None:
        function, arguments = self.pop(2)
        call = self.calls[function.name]
        if call is None:
            raise Refused(f'calls {function.name}')
        self.stack.append(call(*arguments))

    def do_build(self, _) -> None:
        unfinished, state = self.pop(2)
        if type(unfinished) is dict:         # attributes of an ordered dictionary, such as the _metadata of a state dict
            self.stack.append(unfinished)
            return
        value = unfinished.build(state)
        for place in unfinished.places:
            self.memo[place] = value
        self.stack.append(value)

    def do_binpersid(self, _) -> None:
        if self.persistent is None:
            raise Refused('has persistent ids')
        self.stack.append(self.persistent(*self.pop(1)))
