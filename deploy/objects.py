"""Write MLflow's bucket to stdout as a tar archive (`backup`), or read such an archive from stdin into it (`restore`).

Started inside the set-up's own containers, where the store's address and keys are: docs/operations.md says how.
"""

import os
import sys
import tarfile
from types import SimpleNamespace

import boto3


def backup(bucket) -> None:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for entry in bucket.objects.all():
            member = tarfile.TarInfo(entry.key)
            member.size = entry.size
            archive.addfile(member, entry.get()["Body"])


def restore(bucket) -> None:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            # Its `read` alone: a member of a stream cannot be asked whether it can seek, which boto3 would.
            bucket.upload_fileobj(SimpleNamespace(read=archive.extractfile(member).read), member.name)


{"backup": backup, "restore": restore}[sys.argv[1]](
    boto3.resource("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"]).Bucket("mlflow")
)
