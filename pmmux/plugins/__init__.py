"""
Where plugins live: ours, and those of any distribution that ships C{pmmux/plugins/NAME.py}.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))  # type: ignore[no-untyped-call]
__all__: list[str] = []
