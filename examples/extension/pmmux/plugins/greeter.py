"""The drop-in: pmmux finds it here, because its package of plugins spans all distributions."""

from pmmux_greeter.extension import GreeterExtension

greeter = GreeterExtension()
