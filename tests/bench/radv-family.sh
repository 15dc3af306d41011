# SPDX-License-Identifier: Apache-2.0
# radv-family.sh RADV_TABLE FAMILY...: checks the first of these names of one GPU that the driver knows.
table=$1
shift
for family; do
    RADV_FORCE_FAMILY=$family "$table" -c
    status=$?
    [ $status -eq 77 ] || exit $status
done
exit 77
