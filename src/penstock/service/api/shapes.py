"""What the operations on functions, versions and aliases take. Pure.

AWS's model of Lambda, member by member: https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html.
It differs in numbers that AWS allows for managed instances only, and in `Runtime`, whose values AWS checks
outside its model, with another error.
"""

from penstock.service import names
from penstock.service.names import REGION

from .validation import Blob, Flag, Items, Kind, Map, Number, Structure, Text

ARN = rf"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:({REGION})?:(\d{{12}})?:(.*)"
_ANY_ARN = r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()"

# Shared by many operations.
FUNCTION_NAME = Text(1, names.PLAIN.longest, names.PLAIN.pattern)
NAMESPACED_NAME = Text(1, names.NAMESPACED.longest, names.NAMESPACED.pattern)  # read, called or deleted
QUALIFIER = Text(1, names.LONGEST_QUALIFIER, names.QUALIFIER)
ALIAS = Text(1, 128, r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)")
DESCRIPTION = Text(0, 256)
MARKER = Text()
MAX_ITEMS = Number(1, 10_000)
TAG_KEY = Text(1, 128, r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)")
TAGS = Map(TAG_KEY, Text(0, 256, r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"))

CODE_SIGNING = Text(
    0, 200, rf"arn:(aws[a-zA-Z-]*)?:lambda:{REGION}:\d{{12}}:code-signing-config:csc-[a-z0-9]{{17}}"
)

_VERSION = Text(1, 1024, r"(\$LATEST(\.PUBLISHED)?|[0-9]+)")
_KEY = Text(0, 10_000, _ANY_ARN)
_ARCHITECTURES = Items(Text(enum=("x86_64", "arm64")), 1, 1)
_PUBLISH_TO = Text(enum=("LATEST_PUBLISHED",))
_STRINGS = Items(Text(), 0, 1500)

_CODE: dict[str, Kind] = {
    "ZipFile": Blob(),
    "S3Bucket": Text(3, 63, r"[0-9A-Za-z\.\-_]*(?<!\.)"),
    "S3Key": Text(1, 1024, ".*"),
    "S3ObjectVersion": Text(1, 1024, ".*"),
    "S3ObjectStorageMode": Text(enum=("COPY", "REFERENCE")),
    "ImageUri": Text(),
    "SourceKMSKeyArn": _KEY,
}

_FILE_SYSTEM = Structure(
    {
        "Arn": Text(
            0,
            256,
            rf"arn:aws[a-zA-Z-]*:elasticfilesystem:{REGION}:\d{{12}}:access-point/fsap-[a-f0-9]{{17}}$"
            r"|^arn:aws[-a-z]*:s3files:[0-9a-z-:]+:file-system/fs-[0-9a-f]{17,40}"
            r"/access-point/fsap-[0-9a-f]{17,40}",
        ),
        "LocalMountPath": Text(0, 160, r"/mnt/[a-zA-Z0-9-_.]+"),
        "S3FilesConfig": Structure({"DirectS3Read": Text(enum=("ENABLED", "DISABLED", "AUTO"))}),
    },
    required=("Arn", "LocalMountPath"),
)
_MANAGED_INSTANCES = Structure(
    {
        "CapacityProviderArn": Text(
            1, 140, rf"arn:aws[a-zA-Z-]*:lambda:{REGION}:\d{{12}}:capacity-provider:[a-zA-Z0-9-_]+"
        ),
        "PerExecutionEnvironmentMaxConcurrency": Number(1, 1600),
        "ExecutionEnvironmentMemoryGiBPerVCpu": Number(2, 8, double=True),
    },
    required=("CapacityProviderArn",),
)

# What UpdateFunctionConfiguration sets, and CreateFunction as well.
CONFIGURATION: dict[str, Kind] = {
    "Role": Text(0, 10_000, r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"),
    "Handler": Text(0, 128, r"[^\s]+"),
    "Description": DESCRIPTION,
    "Timeout": Number(1, 900),
    "MemorySize": Number(128, 10_240),
    "VpcConfig": Structure(
        {
            "SubnetIds": Items(Text(0, 1024, "subnet-[0-9a-z]*"), 0, 16),
            "SecurityGroupIds": Items(Text(0, 1024, "sg-[0-9a-zA-Z]*"), 0, 5),
            "Ipv6AllowedForDualStack": Flag(),
        }
    ),
    "Environment": Structure(
        {
            "Variables": Map(
                Text(pattern="[a-zA-Z]([a-zA-Z0-9_])+", secret=True), Text(secret=True), secret=True
            )
        }
    ),
    "Runtime": Text(),
    "DeadLetterConfig": Structure({"TargetArn": Text(0, 10_000, _ANY_ARN)}),
    "KMSKeyArn": _KEY,
    "TracingConfig": Structure({"Mode": Text(enum=("Active", "PassThrough"))}),
    "Layers": Items(
        Text(
            1,
            2048,
            rf"((arn:(aws[a-zA-Z-]*)?:lambda:{REGION}:\d{{12}}:layer:[a-zA-Z0-9-_]+:[0-9]+)"
            r"|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))",
        )
    ),
    "FileSystemConfigs": Items(_FILE_SYSTEM, 0, 1),
    "ImageConfig": Structure(
        {"EntryPoint": _STRINGS, "Command": _STRINGS, "WorkingDirectory": Text(0, 1000)}
    ),
    "EphemeralStorage": Structure({"Size": Number(512, 10_240)}, required=("Size",)),
    "SnapStart": Structure({"ApplyOn": Text(enum=("PublishedVersions", "None"))}),
    "LoggingConfig": Structure(
        {
            "LogFormat": Text(enum=("JSON", "Text")),
            "ApplicationLogLevel": Text(enum=("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")),
            "SystemLogLevel": Text(enum=("DEBUG", "INFO", "WARN")),
            "LogGroup": Text(1, 512, r"[\.\-_/#A-Za-z0-9]+"),
        }
    ),
    "CapacityProviderConfig": Structure(
        {"LambdaManagedInstancesCapacityProviderConfig": _MANAGED_INSTANCES},
        required=("LambdaManagedInstancesCapacityProviderConfig",),
    ),
    "DurableConfig": Structure(
        {
            "KMSKeyArn": _KEY,
            "RetentionPeriodInDays": Number(1, 90),
            "ExecutionTimeout": Number(1, 31_622_400),
        }
    ),
    "RuntimeConfig": Structure(
        {
            "RuntimeArn": Text(48, 2048, r"arn:[a-z-]+:lambda:[a-z0-9-]+:\d{12}:runtime/.+"),
            "RuntimeAlias": Text(1, 128),
        },
        required=("RuntimeArn", "RuntimeAlias"),
    ),
    "AcceleratorConfig": Structure({"AcceleratorMemorySize": Number()}, required=("AcceleratorMemorySize",)),
}

_ROUTING = Structure(
    {"AdditionalVersionWeights": Map(Text(1, 1024, "[0-9]+"), Number(0.0, 1.0, double=True))}
)

# Members of the query, wherever an operation has them.
QUERY = frozenset(("FunctionVersion", "Marker", "MasterRegion", "MaxItems", "Qualifier"))

INPUTS = {
    "CreateFunction": Structure(
        {
            "FunctionName": FUNCTION_NAME,
            **CONFIGURATION,
            "Code": Structure(_CODE),
            "Publish": Flag(),
            "PublishTo": _PUBLISH_TO,
            "PackageType": Text(enum=("Zip", "Image")),
            "Tags": TAGS,
            "CodeSigningConfigArn": CODE_SIGNING,
            "Architectures": _ARCHITECTURES,
            "TenancyConfig": Structure(
                {"TenantIsolationMode": Text(enum=("PER_TENANT",))}, required=("TenantIsolationMode",)
            ),
        },
        required=("FunctionName", "Role", "Code"),
    ),
    "GetFunction": Structure(
        {"FunctionName": NAMESPACED_NAME, "Qualifier": QUALIFIER}, required=("FunctionName",)
    ),
    "GetFunctionConfiguration": Structure(
        {"FunctionName": NAMESPACED_NAME, "Qualifier": QUALIFIER}, required=("FunctionName",)
    ),
    "DeleteFunction": Structure(
        {"FunctionName": NAMESPACED_NAME, "Qualifier": QUALIFIER}, required=("FunctionName",)
    ),
    "ListFunctions": Structure(
        {
            "MasterRegion": Text(1, 50, f"ALL|{REGION}"),
            "FunctionVersion": Text(enum=("ALL",)),
            "Marker": MARKER,
            "MaxItems": MAX_ITEMS,
        }
    ),
    "UpdateFunctionCode": Structure(
        {
            "FunctionName": FUNCTION_NAME,
            **_CODE,
            "Architectures": _ARCHITECTURES,
            "Publish": Flag(),
            "PublishTo": _PUBLISH_TO,
            "DryRun": Flag(),
            "RevisionId": Text(),
        },
        required=("FunctionName",),
    ),
    "UpdateFunctionConfiguration": Structure(
        {"FunctionName": FUNCTION_NAME, **CONFIGURATION, "RevisionId": Text()}, required=("FunctionName",)
    ),
    "PublishVersion": Structure(
        {
            "FunctionName": FUNCTION_NAME,
            "CodeSha256": Text(),
            "Description": DESCRIPTION,
            "RevisionId": Text(),
            "PublishTo": _PUBLISH_TO,
        },
        required=("FunctionName",),
    ),
    "ListVersionsByFunction": Structure(
        {"FunctionName": NAMESPACED_NAME, "Marker": MARKER, "MaxItems": MAX_ITEMS}, required=("FunctionName",)
    ),
    "CreateAlias": Structure(
        {
            "FunctionName": FUNCTION_NAME,
            "Name": ALIAS,
            "FunctionVersion": _VERSION,
            "Description": DESCRIPTION,
            "RoutingConfig": _ROUTING,
        },
        required=("FunctionName", "Name", "FunctionVersion"),
    ),
    "GetAlias": Structure({"FunctionName": FUNCTION_NAME, "Name": ALIAS}, required=("FunctionName", "Name")),
    "UpdateAlias": Structure(
        {
            "FunctionName": FUNCTION_NAME,
            "Name": ALIAS,
            "FunctionVersion": _VERSION,
            "Description": DESCRIPTION,
            "RoutingConfig": _ROUTING,
            "RevisionId": Text(),
        },
        required=("FunctionName", "Name"),
    ),
    "DeleteAlias": Structure(
        {"FunctionName": FUNCTION_NAME, "Name": ALIAS}, required=("FunctionName", "Name")
    ),
    "ListAliases": Structure(
        {
            "FunctionName": FUNCTION_NAME,
            "FunctionVersion": _VERSION,
            "Marker": MARKER,
            "MaxItems": MAX_ITEMS,
        },
        required=("FunctionName",),
    ),
}
