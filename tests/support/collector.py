"""An OpenTelemetry collector, as far as metrics by OTLP over HTTP go: it speaks the real protobuf."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)


class Collector:
    """
    Takes exports in a thread of its own.

    @ivar received: the requests, parsed.
    @ivar headers: of each request.
    @ivar answers: statuses to answer with, the first to the first; 200 when there are no more.
    """

    def __init__(self, case: Any) -> None:
        self.received: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.rejected = 0
        collector = self

        class Exchange(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                octets = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    octets = gzip.decompress(octets)
                request = ExportMetricsServiceRequest()
                request.ParseFromString(octets)
                collector.headers.append({"path": self.path, **self.headers})
                collector.received.append(request)
                status = collector.answers.pop(0) if collector.answers else 200
                response = ExportMetricsServiceResponse()
                if collector.rejected:
                    response.partial_success.rejected_data_points = collector.rejected
                    response.partial_success.error_message = "too\x1b[2Jmany"
                body = response.SerializeToString() if status == 200 else b""
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        case.addCleanup(self._stop)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def metrics(self) -> dict[str, Any]:
        """Those of the last request, by name."""
        (resource,) = self.received[-1].resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def resource(self) -> dict[str, str]:
        """Who sent the last request."""
        attributes = self.received[-1].resource_metrics[0].resource.attributes
        return {each.key: each.value.string_value for each in attributes}
