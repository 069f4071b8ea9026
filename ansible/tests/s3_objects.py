"""Puts objects of known content, or reads them all back: `put SEED COUNT`, `check SEED COUNT`. The content is made of the seed."""

import hashlib
import os
import sys

import boto3
from botocore.config import Config


def content(seed, number):
    size = [700, 60_000, 900_000, 9_000_000][number % 4]
    block = hashlib.shake_256(f"{seed}/{number}".encode()).digest(65536)
    return (block * (size // len(block) + 1))[:size]


def main():
    what, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    endpoints = os.environ["ENDPOINTS"].split(",")
    clients = [
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=Config(retries={"mode": "standard"}))
        for endpoint in endpoints
    ]
    for number in range(count):
        client = clients[number % len(clients)]
        key, body = f"{seed}/{number}", content(seed, number)
        if what == "put":
            client.put_object(Bucket="photos", Key=key, Body=body)
        elif client.get_object(Bucket="photos", Key=key)["Body"].read() != body:
            raise SystemExit(f"{key} is read otherwise than it was written")
    print(f"{what} {count} objects of {seed}")


main()
