"""What a word in front tells of an English word that is said in two ways: a record, to record."""

from typing import Literal

Kind = Literal["DEFAULT", "NOUN", "VERB", "VBN"]
"""Of a word, as misaki's dictionaries name it."""

DETERMINERS = frozenset(
    "a an the this that these those my your his her its our their some any no each every another what "
    "which whose one two three four five six seven eight nine ten many several few both all".split()
)
"""A noun follows, or an adjective and a noun."""

VERBS_FOLLOW = frozenset(
    "to will would can could shall should may might must do does did don't doesn't didn't won't wouldn't "
    "can't couldn't shouldn't mustn't cannot let's please not never always i'll you'll he'll she'll "
    "we'll they'll i'd you'd we'd they'd".split()
)
"""A verb follows."""

SUBJECTS = frozenset("i you we they who".split())
"""A verb follows, unless it is one in -ing."""

SPELLED = frozenset(
    "US WHO IT ID LED LA OS AD BA MA ETA EST MD AM PM PA BC CE AI UK EU PC TV".split()
)
"""Written in capitals they are abbreviations, though they are words in small letters, too."""
