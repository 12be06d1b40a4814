"""The drop-in through which pmmux finds what it brings itself."""

from pmmux.builtin import BuiltinExtension

builtin = BuiltinExtension()
